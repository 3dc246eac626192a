// The graph of a run with its tools.
import { signal } from '@preact/signals'
import { useEffect, useMemo, useRef } from 'preact/hooks'
import { json } from './api'
import { putNeeds } from './expected'
import { count, duration, seconds } from './format'
import { GraphView, relatives, same, type Graph } from './graph'
import type { Face } from './graphbox'
import { Icon, wasLost } from './icons'
import { asks, blocks, chosenModule, elapsed, find, kindOf, leaves, line, onlyFailed, pointed, worst } from './modules'
import { say } from './parts'
import { go, place, withQuery } from './route'
import { runPath } from './run'
import { changed, moduleOrder, modules, now } from './store'
import type { Module, RunSummary } from './types'

const graph = signal<Graph | null>(null)

declare global {
  interface Window { graph?: GraphView }
}

const moduleAt = (g: Graph, i: number): Module | undefined => modules.get(g.modules[i].name)?.peek()

// takes is how long a module took, takes or will take, from its first attempt to the end
// of its last one: an attempt that was lost held up the run as well.
function takes(m: Module | undefined): number {
  if (!m) return 0
  const [first, last] = [m.attempts[0], m.attempts.at(-1)]
  if (!first || !last || m.state === 'waiting') return (first ? before(m) : 0) + (m.durationSeconds ?? m.expectedSeconds ?? 0)
  const begun = seconds(last.startedAt ?? last.assignedAt)
  const took = (m.state !== 'running' && last.finishedAt ? seconds(last.finishedAt) : now.peek()) - begun
  return before(m) + (m.state === 'running' ? Math.max(took, m.expectedSeconds ?? 0) : took)
}

// before is the time from a module's first attempt to its last one.
function before(m: Module): number {
  const [first, last] = [m.attempts[0], m.attempts.at(-1)]
  return first && last ? Math.max(0, seconds(last.startedAt ?? last.assignedAt) - seconds(first.startedAt ?? first.assignedAt)) || 0 : 0
}

// criticalPath is the chain of modules that took longest, by what each waits for.
function criticalPath(g: Graph): { path: number[]; seconds: number } {
  const ends: number[] = []
  const before: number[] = []
  const last: number[] = [] // of a set, the member that ends last
  const endOf = (i: number): number => {
    if (ends[i] !== undefined) return ends[i]
    ends[i] = 0 // a cycle is none: its edge counts nothing
    const set = g.modules[i].needs
    let start = 0
    before[i] = -1
    if (set >= 0) {
      if (last[set] === undefined) last[set] = g.sets[set].reduce((a, b) => (a >= 0 && endOf(a) >= endOf(b) ? a : b), -1)
      before[i] = last[set]
      start = before[i] >= 0 ? endOf(before[i]) : 0
    }
    return (ends[i] = start + takes(moduleAt(g, i)))
  }
  let end = -1
  g.modules.forEach((_, i) => {
    if (end < 0 || endOf(i) > endOf(end)) end = i
  })
  const path: number[] = []
  for (let i = end; i >= 0 && path.length <= g.modules.length; i = before[i]) path.unshift(i)
  return { path, seconds: end >= 0 ? ends[end] : 0 }
}

function faces(g: Graph, critical: Set<number>, related: Set<number> | null): Face[] {
  const want = find.value.toLowerCase()
  const dims = (names: string[], list: Module[]) =>
    (want !== '' && !names.some((n) => n.toLowerCase().includes(want))) || (onlyFailed.value && !list.some((m) => m.state === 'failed' || m.attempts.some((a) => wasLost(a.state))))
  return g.layout.nodes.map((n, box): Face => {
    const block = g.blocks[n.block]
    const far = !!related && !related.has(box)
    if (n.module < 0) {
      const list = block.modules.map((i) => moduleAt(g, i)).filter((m) => m !== undefined)
      const done = list.filter((m) => m.state !== 'waiting' && m.state !== 'running').length
      const cached = list.filter((m) => m.state === 'cached').length
      return {
        kind: worst(list),
        title: block.name,
        line: `${done} of ${block.modules.length}${cached ? `, ${cached} cached` : ''}`,
        cells: list.map((m) => kindOf(m)[0]),
        dim: far || dims([block.name, ...list.map((m) => m.name)], list),
        critical: block.modules.some((i) => critical.has(i)),
      }
    }
    const m = moduleAt(g, n.module)
    const name = g.modules[n.module].name
    if (!m) return { kind: 'wait', title: name, line: '' }
    const t = elapsed(m)
    return {
      kind: kindOf(m)[0],
      title: block.modules.length > 1 && name !== block.name ? name.slice(block.name.length) : name,
      line: asks(m) ? 'needs approval' : t >= 0 ? [m.worker, duration(t)].filter(Boolean).join(', ') : line(m),
      part: m.state === 'running' && m.expectedSeconds ? Math.min(1, Math.round((t / m.expectedSeconds) * 50) / 50) : undefined,
      dim: far || dims([name], [m]),
      critical: critical.has(n.module),
    }
  })
}

// boxesOf are the boxes that stand for some modules.
function boxesOf(g: Graph, list: Set<number> | null): Set<number> | null {
  return list && new Set(g.layout.nodes.flatMap((n, box) => ((n.module < 0 ? g.blocks[n.block].modules : [n.module]).some((i) => list.has(i)) ? [box] : [])))
}

export function GraphCard({ r, tall }: { r: RunSummary; tall?: boolean }) {
  const box = useRef<HTMLDivElement>(null)
  const view = useRef<GraphView | undefined>(undefined)
  const given = useRef<Face[]>([]) // what the view was given last
  const unfold = place.value.query.getAll('unfold')
  const all = place.value.query.get('fold') === 'none'
  const structure = moduleOrder.value.length

  useEffect(() => {
    const v = new GraphView(box.current!)
    view.current = v
    window.graph = v
    return () => {
      v.close()
      graph.value = null
      pointed.value = ''
      if (window.graph === v) delete window.graph
    }
  }, [])

  const query = [...(all ? ['fold=none'] : []), ...unfold.map((b) => 'unfold=' + encodeURIComponent(b))].join('&')
  useEffect(() => {
    const stop = new AbortController()
    json<Graph>(`${runPath(r)}/graph${query && '?' + query}`, { signal: stop.signal }).then(
      (g) => {
        graph.value = g
        putNeeds(r.id, g)
        given.current = []
        view.current!.show(g, `Graph of ${count(g.modules.length, 'module')}; the list of modules has the same`)
        view.current!.onChoose = (i) => go(withQuery({ m: g.modules[g.layout.nodes[i].module].name, a: null }))
        view.current!.onUnfold = (b) => go(withQuery({ unfold: [...new Set([...unfold, g.blocks[b].name])] }))
        view.current!.onPoint = (i) => (pointed.value = i < 0 ? '' : g.layout.nodes[i].module < 0 ? g.blocks[g.layout.nodes[i].block].name : g.modules[g.layout.nodes[i].module].name)
      },
      (e) => stop.signal.aborted || say(e.message, true),
    )
    return () => stop.abort()
  }, [r.id, query, structure])

  const g = graph.value
  changed.value
  now.value
  const showCritical = place.value.query.get('critical') !== 'off'
  const critical = g && showCritical ? criticalPath(g) : null
  const inPath = new Set(critical?.path)
  const related = useMemo(() => (g && pointed.value ? boxesOf(g, relatives(g, pointed.value)) : null), [g, pointed.value])
  const drawn = g ? faces(g, inPath, related) : []
  const boxOf = (i: number) => g!.layout.nodes.findIndex((n) => n.module === i || (n.module < 0 && g!.blocks[n.block].modules.includes(i)))
  const boxes = critical && g ? critical.path.map(boxOf).filter((b, i, l) => b >= 0 && b !== l[i - 1]) : []
  useEffect(() => {
    if (!g) return
    view.current!.chosen = g.layout.nodes.findIndex((n) => n.module >= 0 && g.modules[n.module].name === chosenModule.value)
    view.current!.redraw()
  }, [g, chosenModule.value])
  useEffect(() => {
    if (g) view.current!.setCritical(boxes)
  }, [g, boxes.join()])
  useEffect(() => view.current!.setRelated(related), [related])
  useEffect(() => {
    if (!g || (given.current.length === drawn.length && drawn.every((f, i) => same(given.current[i], f)))) return
    given.current = drawn
    view.current!.setFaces(drawn)
  })

  const again = critical && g ? critical.path.reduce((n, i) => n + (moduleAt(g, i) ? before(moduleAt(g, i)!) : 0), 0) : 0
  const names = g && critical ? boxes.map((b) => (g.layout.nodes[b].module < 0 ? g.blocks[g.layout.nodes[b].block].name : g.modules[g.layout.nodes[b].module].name)) : []
  return (
    <section class={'card graph' + (tall ? ' tall' : '')} aria-label="Graph">
      <div class="cardh">
        <h2>Graph</h2>
        <small>{`${count(leaves.value.length, 'module')} in ${count(blocks.value.length, 'block')}`}</small>
        <span class="grow" />
        <button class="btn" aria-pressed={showCritical} onClick={() => go(withQuery({ critical: showCritical ? 'off' : null }) + location.hash, true)}>
          Critical path
        </button>
        {(unfold.length > 0 || all) && (
          <a class="btn" href={withQuery({ unfold: null, fold: null })}>
            Fold
          </a>
        )}
        {!all && (
          <a class="btn" href={withQuery({ unfold: null, fold: 'none' })}>
            Unfold all
          </a>
        )}
      </div>
      <div ref={box} class="gbox" style={tall ? undefined : { height: g ? `${Math.max(120, Math.min(420, g.layout.height + 40))}px` : '180px' }} />
      {critical && critical.seconds > 0 && names.length > 1 && (
        <p class="path hide-s" title={names.join(', ')}>
          <b>Critical path {duration(critical.seconds)}</b>
          {again > 0.5 && <span>{`${duration(again)} before last attempts: `}</span>}
          {names.join(', ')}
        </p>
      )}
      <div class="zoom">
        <button class="btn icon" aria-label="Zoom in" onClick={() => view.current!.zoom(1.3)}>
          <Icon name="plus" />
        </button>
        <button class="btn icon" aria-label="Zoom out" onClick={() => view.current!.zoom(1 / 1.3)}>
          <Icon name="minus" />
        </button>
        <button class="btn icon" aria-label="Fit" onClick={() => view.current!.fit()}>
          <Icon name="fit" />
        </button>
      </div>
    </section>
  )
}
