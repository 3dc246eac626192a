// The timeline of a run with its tools.
import { useEffect, useRef } from 'preact/hooks'
import { json } from './api'
import { Times, needsIn, putNeeds } from './expected'
import { seconds } from './format'
import type { Graph } from './graph'
import { colour, ofAttempt, wasLost } from './icons'
import { chosenModule, leaves, pointed } from './modules'
import { Choice } from './parts'
import { go, place, withQuery } from './route'
import { runPath } from './run'
import { takeovers } from './runevents'
import { changed, final, members, moduleOrder, now, ref, run } from './store'
import { Timeline, type Bar, type Picture, type Row, type Wait } from './timeline'
import type { Module, RunSummary } from './types'

function barsOf(m: Module, byModule: boolean, at: number): Bar[] {
  return m.attempts.flatMap((a): Bar[] => {
    const assigned = seconds(a.assignedAt ?? a.startedAt)
    if (!(assigned > 0) || !a.worker) return []
    const until = Math.max(a.finishedAt ? seconds(a.finishedAt) : at, assigned)
    const again = a.number > 1 ? ` ${a.number}` : ''
    const adopted = takeovers.value.some((t) => t.previous === a.worker && assigned < t.at && t.at < until && !wasLost(a.state))
    return [
      {
        row: byModule ? m.name : a.worker,
        module: m.name,
        of: m.of,
        attempt: a.number,
        text: byModule ? a.worker + again : m.name + again,
        note: `${m.name}, attempt ${a.number} on ${a.worker}, ${adopted ? 'adopted, ' : ''}${ofAttempt(a.state)[1]}`,
        kind: colour(ofAttempt(a.state)[0]),
        assigned,
        from: a.startedAt ? seconds(a.startedAt) : until,
        to: until,
        adopted,
        beside: byModule && a === m.attempts.at(-1),
        expected: a.state === 'running' && m.expectedSeconds && a.startedAt ? seconds(a.startedAt) + m.expectedSeconds : undefined,
      },
    ]
  })
}

// waitsOf are the times before the attempts of each module, and when those that have
// not begun are expected to run.
function waitsOf(run: string, list: Module[], begun: number, at: number, running: boolean): Wait[] {
  const times = new Times(run, list, begun, at)
  return list.flatMap((m): Wait[] => {
    const out: Wait[] = []
    let from = times.readyAt(m.name)
    for (const a of m.attempts) {
      const assigned = seconds(a.assignedAt ?? a.startedAt)
      if (assigned > from) out.push({ row: m.name, from, to: assigned, text: '' })
      from = a.finishedAt ? seconds(a.finishedAt) : at
    }
    if (m.state !== 'waiting' || !running) return out
    if (from < at) out.push({ row: m.name, from, to: at, text: '' })
    if (m.expectedSeconds) out.push({ row: m.name, from: Math.max(from, at), to: Math.max(from, at) + m.expectedSeconds, expected: true, text: 'expected' })
    return out
  })
}

function picture(r: RunSummary, byModule: boolean, at: number): Picture {
  const running = !final(r.state)
  const list = leaves.peek()
  const bars = list.flatMap((m) => barsOf(m, byModule, at))
  const start = seconds(r.submittedAt)
  const role = (name: string) => members.value?.members.find((m) => m.name === name)
  let rows: Row[]
  if (byModule) {
    const first = new Map<string, number>()
    for (const b of bars) first.set(b.module, Math.min(first.get(b.module) ?? Infinity, b.assigned))
    rows = list.map((m) => ({ name: m.name, note: '' })).sort((a, b) => (first.get(a.name) ?? Infinity) - (first.get(b.name) ?? Infinity) || 0)
  } else {
    rows = [...new Set(bars.map((b) => b.row))].sort().map((name) => ({ name, note: role(name) ? (role(name)!.status === 'alive' ? role(name)!.role : role(name)!.status) : 'not a member' }))
  }
  return {
    rows,
    wide: byModule,
    bars,
    waits: byModule ? waitsOf(r.id, list, seconds(r.startedAt ?? r.submittedAt), at, running) : [],
    takeovers: takeovers.value.filter((t) => t.at > start && t.at < (running ? at : seconds(r.finishedAt))),
    start,
    end: running ? at : seconds(r.finishedAt),
    now: running ? at : undefined,
  }
}

function zoomIn(query: URLSearchParams): [number, number] | null {
  const [from, to] = [Number(query.get('from')), Number(query.get('to'))]
  return to > from ? [from, to] : null
}

const chosenRows = (query: URLSearchParams) => query.get('rows') === 'modules'

export function TimelineCard() {
  const box = useRef<HTMLDivElement>(null)
  const view = useRef<Timeline | undefined>(undefined)
  const r = run.value!
  const query = place.value.query
  const byModule = chosenRows(query)
  const zoomed = zoomIn(query)
  useEffect(() => {
    const t = new Timeline(box.current!)
    view.current = t
    t.onChoose = (b) => go(withQuery({ m: b.module, a: String(b.attempt), with: null }))
    t.onZoom = (part) => go(withQuery({ from: part ? part[0].toFixed(2) : null, to: part ? part[1].toFixed(2) : null }))
    Object.assign(window, { timeline: t })
    return () => t.close()
  }, [])
  useEffect(() => {
    if (!byModule) return
    const stop = new AbortController()
    json<Graph>(`${runPath(r)}/graph`, { signal: stop.signal }).then(
      (g) => putNeeds(r.id, g),
      () => {}, // the bars are there without it
    )
    return () => stop.abort()
  }, [byModule, r.id, moduleOrder.value.length])

  changed.value
  const running = !final(r.state)
  const at = running ? now.value : seconds(r.finishedAt)
  useEffect(() => {
    const t = view.current!
    t.chosen = chosenModule.value
    t.zoomed = zoomed
    t.show(picture(r, byModule, at))
  }, [changed.value, at, byModule, zoomed?.join(), chosenModule.value, r.id, needsIn(r.id), takeovers.value, members.value])
  useEffect(() => {
    const t = view.current!
    t.pointed = pointed.value
    t.update()
  }, [pointed.value])
  return (
    <section class="card timeline" aria-label="Timeline">
      <div class="cardh">
        <h2>Timeline</h2>
        <span class="grow" />
        {zoomed && (
          <a class="btn" href={withQuery({ from: null, to: null })}>
            All of it
          </a>
        )}
        <Choice label="What has a row" name="rows" list={[['', 'Workers'], ['modules', 'Modules']]} chosen={byModule ? 'modules' : ''} />
      </div>
      <div ref={box} class="tlbox" />
      <p class="legend" aria-hidden="true">
        <i class="fetch" />
        fetching
        <i class="run" />
        running
        <i class="ok" />
        succeeded
        <i class="bad" />
        failed
        <i class="odd" />
        lost
        {takeovers.value.length > 0 && [<i class="adopted" />, 'adopted']}
        {byModule && [<i class="waits" />, 'waiting']}
        {running && [<i class="exp" />, 'expected']}
        <span class="grow" />
        <span class="hide-s">drag to zoom</span>
      </p>
    </section>
  )
}
