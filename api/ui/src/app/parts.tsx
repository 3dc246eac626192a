// Parts that several pages use.
import { computed, signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { Refused, answered, ask, away } from './api'
import { quote } from './format'
import { Icon, Shape, colour, type Kind } from './icons'
import { withQuery } from './route'
import { health, now } from './store'

export function Pill({ kind, children }: { kind: Kind; children: ComponentChildren }) {
  return (
    <span class={'pill s-' + colour(kind)}>
      <Shape kind={kind} />
      {children}
    </span>
  )
}

// Bar shows parts of a whole; what is missing to the whole is what waits.
export function Bar({ parts, total, label }: { parts: [string, number][]; total: number; label: string }) {
  const left = total - parts.reduce((n, [, k]) => n + k, 0)
  return (
    <span class="pbar" role="img" aria-label={label}>
      {parts.map(([c, n]) => n > 0 && <i key={c} class={c} style={{ flex: String(n) }} />)}
      {left > 0 && <i class="rest" style={{ flex: String(left) }} />}
    </span>
  )
}

// said is what a screen reader says and the corner of the page shows for a while.
export const said = signal<{ text: string; bad: boolean } | null>(null)
let forget: ReturnType<typeof setTimeout>

export function say(text: string, bad = false) {
  said.value = { text, bad }
  clearTimeout(forget)
  forget = setTimeout(() => (said.value = null), bad ? 12000 : 4000)
}

export function Said() {
  const s = said.value
  return (
    <div class="said" role="status" aria-live="polite">
      {s && (
        <p class={s.bad ? 's-bad' : ''}>
          <Shape kind={s.bad ? 'bad' : 'ok'} />
          {s.text}
        </p>
      )}
    </div>
  )
}

export async function copy(text: string, what = 'Copied') {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text)
    } else {
      // A page that came over plain HTTP from another machine has no clipboard.
      const box = document.createElement('textarea')
      box.value = text
      document.body.append(box)
      box.select()
      document.execCommand('copy')
      box.remove()
    }
    say(what)
  } catch {
    say('The browser does not allow copying', true)
  }
}

export const cli = (...words: string[]) => ['pipelined', ...words].map(quote).join(' ')

export function curl(method: string, path: string, body?: unknown): string {
  const words = ['curl']
  if (method !== 'GET') words.push('-X', method)
  words.push('-H', '"Authorization: Bearer $PIPELINED_TOKEN"')
  if (body !== undefined) words.push('-H', quote('Content-Type: application/json'), '-d', quote(JSON.stringify(body)))
  return [...words, quote(location.origin + path)].join(' ')
}

// Action is something that a person may do, and how a program does the same.
export interface Action {
  title: string
  text?: string
  button: string
  danger?: boolean
  // input is the label of a text that goes along.
  input?: string
  cli: (input: string) => string
  method?: string
  path: string
  body?: (input: string) => unknown
  // wait is how long the answer may take beyond the time of a call, in ms.
  wait?: number
  done: string
  // then is called with the answer once it is done.
  then?: (answer: Response) => unknown
}

// silent is for how many seconds no node may have answered before what is shown counts as
// old.
export const silent = 6
export const age = computed(() => now.value && (Date.now() - answered.value) / 1000)

// stale is why nothing can be changed now; '' if it can.
const stale = computed(() => {
  const h = health.value
  if (away.value) return `${away.value[0].toUpperCase()}${away.value.slice(1)}: what this page shows is old, and nothing can be changed until a node answers.`
  if (age.value > silent) return 'No node has answered lately: what this page shows may be old, and nothing can be changed until one does.'
  if (h && (!h.leader || !h.quorum)) return 'No node leads: nothing can be changed until a majority of the voters elects one.'
  return ''
})

// Stale says why actions are not offered now.
export function Stale() {
  return (
    <div role="status">
      {stale.value && (
        <p class="notice s-bad" id="stale">
          <Shape kind="bad" />
          {stale.value}
        </p>
      )}
    </div>
  )
}

// Act is a button of an action: it is disabled, with the reason, while none can be done.
export function Act({ kind = '', label, off, pressed, onClick, children }: { kind?: string; label?: string; off?: boolean; pressed?: boolean; onClick: () => void; children: ComponentChildren }) {
  const why = stale.value
  return (
    <button class={('btn ' + kind).trim()} aria-label={label} aria-pressed={pressed} disabled={!!off || !!why} title={why || undefined} aria-describedby={why ? 'stale' : undefined} onClick={onClick}>
      {children}
    </button>
  )
}

// save hands bytes to the browser as a file.
export function save(data: Blob, name: string) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(data)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60000)
}

export const asked = signal<Action | null>(null)
const input = signal('')
const busy = signal(false)
// acted counts what was done: what shows it asks again at once.
const acted = signal(0)

export function offer(a: Action) {
  input.value = ''
  asked.value = a
}

async function act(a: Action) {
  busy.value = true
  try {
    const answer = await ask(a.path, { method: a.method ?? 'POST', body: a.body?.(input.value), wait: a.wait })
    await a.then?.(answer)
    say(a.done)
    asked.value = null
    acted.value++
  } catch (e) {
    say(e instanceof Refused ? e.message : 'No node answered. Whether it was done is not known.', true)
  } finally {
    busy.value = false
  }
}

// Ask is the dialog of an action.
export function Ask() {
  const box = useRef<HTMLDialogElement>(null)
  const a = asked.value
  useEffect(() => {
    if (a && !box.current!.open) box.current!.showModal()
    if (!a && box.current!.open) box.current!.close()
  }, [a])

  return (
    <dialog ref={box} class="ask" aria-labelledby="ask" onClose={() => (asked.value = null)}>
      {a && (
        <form
          method="dialog"
          onSubmit={(e) => {
            e.preventDefault()
            act(a)
          }}
        >
          <h2 id="ask">{a.title}</h2>
          {a.text && <p>{a.text}</p>}
          {a.input && (
            <label>
              <span>{a.input}</span>
              <textarea rows={2} value={input.value} onInput={(e) => (input.value = e.currentTarget.value)} />
            </label>
          )}
          <Command text={a.cli(input.value)} />
          <Command text={curl(a.method ?? 'POST', a.path, a.body?.(input.value))} />
          {stale.value && (
            <p class="s-bad" id="stale-ask" role="alert">
              {stale.value}
            </p>
          )}
          <div class="row">
            <button type="button" class="btn" onClick={() => (asked.value = null)}>
              Leave it
            </button>
            <button type="submit" class={'btn ' + (a.danger ? 'danger' : 'pri')} disabled={busy.value || stale.value !== ''} aria-describedby={stale.value ? 'stale-ask' : undefined}>
              {a.button}
            </button>
          </div>
        </form>
      )}
    </dialog>
  )
}

// Command is a line to copy.
export function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <code tabIndex={0} role="group" aria-label="Command">
        {text}
      </code>
      <button type="button" class="btn icon ghost" aria-label={'Copy: ' + text} onClick={() => copy(text)}>
        <Icon name="copy" />
      </button>
    </div>
  )
}

// CopyAs is the menu of commands that show what the page shows.
export function CopyAs({ lines }: { lines: [string, string][] }) {
  return (
    <details class="menu" onKeyDown={(e) => e.key === 'Escape' && closeMenu(e.currentTarget)} onFocusOut={(e) => e.currentTarget.contains(e.relatedTarget as Node) || (e.currentTarget.open = false)}>
      <summary class="btn" data-key="copy">
        <Icon name="copy" />
        <span class="hide-s">Copy as</span>
        <span class="sr only-s">Copy as</span>
      </summary>
      <ul>
        {lines.map(([label, text]) => (
          <li key={label}>
            <button
              type="button"
              onClick={(e) => {
                copy(text, `Copied: ${text}`)
                closeMenu(e.currentTarget.closest('details')!)
              }}
            >
              <b>{label}</b>
              <code>{text}</code>
            </button>
          </li>
        ))}
      </ul>
    </details>
  )
}

function closeMenu(menu: HTMLDetailsElement) {
  menu.open = false
  menu.querySelector('summary')!.focus()
}

// every asks again and again while the part is shown and the page seen, and at once if what
// changes or something was done.
export function every(ms: number, load: () => Promise<unknown>, what = '') {
  useEffect(() => {
    const step = () => document.hidden || load().catch(() => {})
    step()
    const timer = setInterval(step, ms)
    document.addEventListener('visibilitychange', step)
    return () => {
      clearInterval(timer)
      document.removeEventListener('visibilitychange', step)
    }
  }, [what, acted.value])
}

// times are a time in a zone, and in UTC if that is another one.
export const times = (at: string, zone: string) => (/^(?:(?:Etc\/)?(?:UTC|UCT|Universal|Zulu))?$/.test(zone) ? inZone(at, 'UTC') : `${inZone(at, zone)}, ${utc(at)}`)

export function inZone(at: string, zone: string, exact = false): string {
  try {
    return new Intl.DateTimeFormat('en-GB', { timeZone: zone || 'UTC', weekday: 'short', hour: '2-digit', minute: '2-digit', second: exact ? '2-digit' : undefined }).format(new Date(at)) + ' ' + (zone || 'UTC')
  } catch {
    return zone
  }
}

const utc = (at: string) => new Date(at).toISOString().slice(11, 16) + ' UTC'

// Table is a table whose rows are cards on a narrow screen. An empty head is that of
// the rows' actions.
export function Table({ heads, kind, children }: { heads: string[]; kind?: string; children: ComponentChildren }) {
  return (
    <table class={'nt cards' + (kind ? ' ' + kind : '')}>
      <thead>
        <tr>
          {heads.map((h) => (
            <th key={h} scope="col" class={h ? '' : 'act'}>
              {h || <span class="sr">Actions</span>}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  )
}

// Choice is a row of links that set a parameter of the address; '' takes it away.
export function Choice({ label, name, list, chosen }: { label: string; name: string; list: [string, ComponentChildren][]; chosen: string }) {
  return (
    <nav class="seg" aria-label={label}>
      {list.map(([value, text]) => (
        <a key={value} href={withQuery({ [name]: value })} aria-current={chosen === value ? 'true' : undefined}>
          {text}
        </a>
      ))}
    </nav>
  )
}

// Figure is a number of a page's head; title is its whole text if value is short for it.
export function Figure({ name, value, note, title }: { name: string; value: string; note: string; title?: string }) {
  return (
    <div class="kpi" title={title}>
      <dt>{name}</dt>
      <dd>
        {value}
        <small>{note}</small>
      </dd>
    </div>
  )
}

// Blank is what a page, or a part of one, says that has nothing to show.
export function Blank({ title, page, children }: { title: string; page?: boolean; children?: ComponentChildren }) {
  return (
    <div class="blank">
      {page ? <h1>{title}</h1> : <h2>{title}</h2>}
      {children}
    </div>
  )
}
