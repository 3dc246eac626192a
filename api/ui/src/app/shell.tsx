// What is around every page: where one can go, which node the page is on, and
// how old what it shows is.
import { computed, effect, signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { away, node, signOut } from './api'
import { mine, useApprovals } from './waitingfor'
import { coarse, count } from './format'
import { Brand, Icon, colour, type Kind } from './icons'
import { Palette, openPalette, pages, shown as paletteShown } from './palette'
import { Ask, Said, Stale, age, silent } from './parts'
import { go, segments } from './route'
import { alive, final, health, may, members, order, runs, who } from './store'

const all = [
  { name: 'runs', title: 'Runs', key: 'r' },
  { name: 'approvals', title: 'Approvals', key: 'p' },
  { name: 'pipelines', title: 'Pipelines', key: 'i' },
  { name: 'schedules', title: 'Schedules', key: 's' },
  { name: 'cluster', title: 'Cluster', key: 'c', apart: true },
  { name: 'cache', title: 'Cache', key: 'a' },
  { name: 'locks', title: 'Locks', key: 'l' },
  { name: 'secrets', title: 'Secrets and tokens', key: 't', least: 'submit' },
] as { name: string; title: string; key: string; least?: 'submit'; apart?: boolean }[]

// handy are the pages in the phone's bar; the others are in its menu.
const handy = ['runs', 'approvals', 'schedules', 'cluster']

// open are the pages that the role may look at.
const open = () => all.filter((p) => !p.least || may(p.least))

const current = computed(() => segments.value[0] ?? 'runs')
const active = computed(() => order.value.filter((id) => !final(runs.get(id)!.value.state)).length)

function Badge({ page }: { page: string }) {
  if (page === 'runs' && active.value > 0) {
    return (
      <em class="run">
        {active.value}
        <span class="sr"> not finished</span>
      </em>
    )
  }
  if (page === 'approvals' && mine.value.length > 0) {
    return (
      <em class="ask-n">
        {mine.value.length}
        <span class="sr"> to decide</span>
      </em>
    )
  }
  return null
}

// Links are pages, in the rail and in the phone's bar.
function Links({ which }: { which: (name: string) => boolean }) {
  return (
    <>
      {open()
        .filter((p) => which(p.name))
        .map((p) => (
          <a key={p.name} href={'/' + p.name} class={p.apart ? 'apart' : undefined} aria-current={current.value === p.name ? 'page' : undefined}>
            <Icon name={p.name} />
            <span class="title">{p.title}</span>
            <Badge page={p.name} />
          </a>
        ))}
    </>
  )
}

// More is the phone's menu of what its bar has no place for.
function More() {
  const box = useRef<HTMLDetailsElement>(null)
  const close = () => (box.current!.open = false)
  const inside = open().some((p) => p.name === current.value && !handy.includes(p.name))
  return (
    <details class="more-menu" ref={box} onFocusOut={(e) => e.currentTarget.contains(e.relatedTarget as Node) || close()} onKeyDown={(e) => e.key === 'Escape' && close()}>
      <summary class={inside ? 'here' : ''}>
        <Icon name="more" />
        <span class="title">More</span>
      </summary>
      <div onClick={close}>
        <Links which={(name) => !handy.includes(name)} />
        <button onClick={openPalette}>
          <Icon name="search" />
          <span class="title">Go to</span>
        </button>
        <button onClick={signOut}>
          <Icon name="leave" />
          <span class="title">Sign out</span>
        </button>
      </div>
    </details>
  )
}

function Where() {
  const h = health.value
  const all = members.value?.members.filter((m) => m.status !== 'left').length ?? 0
  const kind = away.value ? 'bad' : !h ? 'wait' : !h.quorum ? 'bad' : h.status === 'healthy' ? 'ok' : 'odd'
  return (
    <a href="/cluster" class="where">
      <i class={'dot s-' + kind} />
      <span>
        <b>{away.value ? 'no answer' : h ? `${alive.value} of ${count(all, 'node')}` : 'connecting'}</b>
        {h && <small>{h.leader ? `${h.leader} leads, term ${h.term}` : 'no leader'}</small>}
        <span class="sr">{away.value || h?.status}</span>
      </span>
    </a>
  )
}

// Live says from which node what is shown comes, or how old it is.
export function Live() {
  if (away.value) {
    return (
      <span class="live s-bad" title={away.value}>
        <i class="pulse bad" />
        as of {coarse(age.value)} ago
      </span>
    )
  }
  return age.value > silent ? (
    <span class="live s-odd">
      <i class="pulse odd" />
      as of {coarse(age.value)} ago
    </span>
  ) : (
    <span class="live">
      <i class="pulse" />
      live<span class="hide-s"> from {node.value}</span>
    </span>
  )
}

export function Top({ path, children }: { path: [string, string?][]; children?: ComponentChildren }) {
  return (
    <header class="top">
      <nav class="crumb" aria-label="Path">
        {path.map(([text, to], i) => (
          <>
            {i > 0 && <span aria-hidden="true">/</span>}
            {to ? <a href={to}>{text}</a> : <b aria-current="page">{text}</b>}
          </>
        ))}
      </nav>
      <span class="grow" />
      <Live />
      <button class="btn icon ghost hide-s" aria-label="Go to" title="Go to (Ctrl-K)" onClick={openPalette}>
        <Icon name="search" />
      </button>
      {children}
    </header>
  )
}

export function Shell({ children }: { children: ComponentChildren }) {
  const me = who.value
  useApprovals()
  useEffect(() => {
    pages.value = open().map((p) => ({ text: p.title, note: 'page', to: '/' + p.name, icon: p.name }))
  }, [me])
  return (
    <div class="app">
      <nav class="rail" aria-label="Pages">
        <div class="brand">
          <Brand />
          pipelined
        </div>
        <Where />
        <Links which={() => true} />
        <div class="end">
          <Icon name="person" />
          <span class="name">{[me?.name, me?.role].filter(Boolean).join(', ')}</span>
          <button class="btn icon ghost" aria-label="Sign out" title="Sign out" onClick={signOut}>
            <Icon name="leave" />
          </button>
          <button class="kbd" aria-label="Keys" onClick={() => (keysShown.value = true)}>
            ?
          </button>
        </div>
      </nav>
      <main class="main" id="main">
        <Stale />
        {children}
      </main>
      <nav class="tabbar" aria-label="Pages, at the bottom">
        <Links which={(name) => handy.includes(name)} />
        <More />
      </nav>
      <Ask />
      <Said />
      <Keys />
      <Palette />
    </div>
  )
}

// Keys. A page adds its own while it is shown.
export type Bindings = Record<string, [string, () => void]>
export const bindings = signal<Bindings>({})
const keysShown = signal(false)
let led = -Infinity // when g was pressed, which leads the key of a page

export function useKeys(own: Bindings) {
  const latest = useRef(own)
  latest.current = own
  useEffect(() => {
    const stable: Bindings = {}
    for (const [key, [what]] of Object.entries(own)) stable[key] = [what, () => latest.current[key]?.[1]()]
    bindings.value = stable
    return () => {
      if (bindings.peek() === stable) bindings.value = {}
    }
  }, [Object.keys(own).join()])
}

addEventListener('keydown', (e) => {
  const at = e.target as HTMLElement
  if ((e.metaKey || e.ctrlKey) && !e.altKey && !e.shiftKey && e.key.toLowerCase() === 'k') {
    e.preventDefault()
    if (paletteShown.value) paletteShown.value = false
    else if (!document.querySelector('dialog[open]')) openPalette()
    return
  }
  if (e.key === 'Escape' && /^(INPUT|TEXTAREA)$/.test(at.tagName)) at.blur()
  if (e.metaKey || e.ctrlKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) || document.querySelector('dialog[open]')) return
  if (e.timeStamp - led < 1500) {
    led = -Infinity
    const page = open().find((p) => p.key === e.key)
    if (page) go('/' + page.name)
    return
  }
  if (e.key === 'g') {
    led = e.timeStamp
  } else if (e.key === '?') {
    keysShown.value = true
  } else if (e.key === 'c') {
    const menu = document.querySelector<HTMLElement>('[data-key=copy]')
    menu?.focus() // Escape closes what has the focus in it
    menu?.click()
  } else if (bindings.value[e.key]) {
    e.preventDefault()
    bindings.value[e.key][1]()
  }
})

function Keys() {
  const box = useRef<HTMLDialogElement>(null)
  const shown = keysShown.value
  useEffect(() => {
    if (shown) box.current!.showModal()
  }, [shown])
  const list: [string, string][] = [
    ...open().map((p): [string, string] => [`g ${p.key}`, p.title]),
    ...Object.entries(bindings.value).map(([key, [what]]): [string, string] => [key, what]),
    ['c', 'copy as command line or curl'],
    ['Ctrl K', 'go to a run, pipeline, node or page'],
    ['?', 'this list'],
  ]
  return (
    <dialog ref={box} class="ask keys" aria-labelledby="keys" onClose={() => (keysShown.value = false)}>
      {shown && (
        <form method="dialog">
          <h2 id="keys">Keys</h2>
          <dl>
            {list.map(([key, what]) => (
              <div key={key}>
                <dt>
                  <kbd class="kbd">{key}</kbd>
                </dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
          <div class="row">
            <button class="btn">Close</button>
          </div>
        </form>
      )}
    </dialog>
  )
}

// Title and favicon tell the state to who looks at another tab.
const colours: Record<string, string> = { ok: '#2f9e66', run: '#4a7bf0', bad: '#e0564b', odd: '#b9780f', wait: '#868f9c', hit: '#9a78e4' }
const marks: Record<string, string> = {
  ok: '<circle cx="8" cy="8" r="8"/><path d="m4.5 8.3 2.4 2.4 4.6-5.2" stroke="#fff" stroke-width="2" fill="none"/>',
  run: '<circle cx="8" cy="8" r="6" fill="none" stroke-width="4" stroke="currentColor" stroke-dasharray="26 12"/>',
  bad: '<path d="M4.7 0h6.6L16 4.7v6.6L11.3 16H4.7L0 11.3V4.7z"/><path d="m5 5 6 6m0-6-6 6" stroke="#fff" stroke-width="2"/>',
  odd: '<path d="M8 0 16 15H0z"/><path d="M8 5v5m0 2v2" stroke="#fff" stroke-width="2"/>',
  wait: '<circle cx="8" cy="8" r="6" fill="none" stroke-width="3" stroke="currentColor" stroke-dasharray="3 3"/>',
}

const icon = signal<[Kind, string]>(['wait', 'pipelined'])
effect(() => {
  const [kind, text] = icon.value
  document.title = text
  const c = colour(kind)
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="${colours[c]}" color="${colours[c]}">${marks[c] ?? marks.ok}</svg>`
  document.querySelector<HTMLLinkElement>('link[rel=icon]')!.href = 'data:image/svg+xml,' + encodeURIComponent(svg)
})

export const show = (kind: Kind, text: string) => {
  if (icon.peek()[0] !== kind || icon.peek()[1] !== text) icon.value = [kind, text]
}
