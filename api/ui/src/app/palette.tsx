// Go anywhere: pages, runs, pipelines and nodes by a few letters (Ctrl-K).
import { computed, signal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { coarse, seconds } from './format'
import { Icon, Shape, ofRun, type Kind } from './icons'
import { go, nodeLink, pipelineLink, runLink } from './route'
import { score } from './search'
import { members, now, order, ref, runs } from './store'

export interface Target { text: string; note: string; to: string; icon?: string; kind?: Kind }

export const shown = signal(false)
const typed = signal('')
const at = signal(0)
// pages are those that the role may look at; the shell sets them.
export const pages = signal<Target[]>([])

const most = 12

const all = computed((): Target[] => {
  const list = order.value.map((id) => runs.get(id)!.value)
  return [
    ...pages.value,
    ...[...new Set(list.map((r) => r.pipeline))].map((name): Target => ({ text: name, note: 'pipeline', to: pipelineLink(name), icon: 'pipelines' })),
    ...list.map((r): Target => ({
      text: `${r.pipeline} ${ref(r)}`,
      note: `${ofRun(r.state)[1].toLowerCase()}${r.submitter ? ', ' + r.submitter : ''}, ${coarse(now.peek() - seconds(r.submittedAt))} ago`,
      to: runLink(ref(r)),
      kind: ofRun(r.state)[0],
    })),
    ...(members.value?.members ?? []).filter((m) => m.status !== 'left').map((m): Target => ({ text: m.name, note: `node, ${m.role}`, to: nodeLink(m.name), icon: 'cluster' })),
  ]
})

const found = computed((): Target[] => {
  const q = typed.value.trim()
  if (!q) return all.value.slice(0, most)
  const fits = all.value.map((t) => [score(t.text + ' ' + t.note, q), t] as const).filter(([n]) => n >= 0)
  const list = fits.sort((a, b) => b[0] - a[0]).map(([, t]) => t).slice(0, most - 1)
  if (/^\d+$/.test(q) && !list.some((t) => t.to === '/runs/' + q)) list.unshift({ text: `Run ${q}`, note: 'by its number', to: '/runs/' + q, icon: 'runs' })
  list.push({ text: `Runs with “${q}”`, note: 'search', to: '/runs?q=' + encodeURIComponent(q), icon: 'search' })
  return list
})

export function openPalette() {
  typed.value = ''
  at.value = 0
  shown.value = true
}

export function Palette() {
  const box = useRef<HTMLDialogElement>(null)
  const open = shown.value
  useEffect(() => {
    if (open && !box.current!.open) box.current!.showModal()
    if (!open && box.current!.open) box.current!.close()
  }, [open])
  const list = open ? found.value : []
  const chosen = Math.min(at.value, list.length - 1)
  const take = (t?: Target) => {
    shown.value = false
    if (t) go(t.to)
  }
  const key = (e: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key]
    if (step) {
      e.preventDefault()
      at.value = (chosen + step + list.length) % list.length
      document.getElementById('go-' + at.value)?.scrollIntoView({ block: 'nearest' })
    } else if (e.key === 'Enter') {
      e.preventDefault()
      take(list[chosen])
    }
  }
  return (
    <dialog ref={box} class="ask palette" aria-label="Go to" onClose={() => (shown.value = false)} onClick={(e) => e.target === box.current && (shown.value = false)}>
      {open && (
        <>
          <div class="find">
            <Icon name="search" />
            <input
              role="combobox"
              aria-label="Go to a run, pipeline, node or page"
              aria-expanded="true"
              aria-controls="go-list"
              aria-activedescendant={list.length ? 'go-' + chosen : undefined}
              placeholder="run, pipeline, node, page"
              autocomplete="off"
              spellcheck={false}
              value={typed.value}
              onInput={(e) => {
                typed.value = e.currentTarget.value
                at.value = 0
              }}
              onKeyDown={key}
            />
          </div>
          <ul role="listbox" id="go-list" aria-label="Where to">
            {list.map((t, i) => (
              <li key={t.to + t.text} id={'go-' + i} role="option" aria-selected={i === chosen} onClick={() => take(t)} onMouseMove={() => (at.value = i)}>
                {t.kind ? <Shape kind={t.kind} /> : <Icon name={t.icon ?? 'right'} />}
                <b>{t.text}</b>
                <small>{t.note}</small>
              </li>
            ))}
          </ul>
        </>
      )}
    </dialog>
  )
}
