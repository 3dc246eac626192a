// The modules of a run as a list: the form of the run that a keyboard and a
// screen reader use, and the phone. Instances of a block fold into it.
import { computed, signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { bytes, duration, seconds } from './format'
import { Icon, Shape, ofModule, wasLost, type Kind } from './icons'
import { go, place, withQuery } from './route'
import { changed, moduleOrder, modules, now, waiting } from './store'
import type { Module } from './types'

// find and onlyFailed say which modules are shown, also in the graph; they are in the
// address.
export const find = computed(() => place.value.query.get('q') ?? '')
export const onlyFailed = computed(() => place.value.query.get('only') === 'failed')
// turned are blocks that are not folded as they would be by themselves.
const turned = computed(() => new Set(place.value.query.getAll('turn')))
// pointed is the module or block under the pointer or the keyboard's focus, in the list or
// in the graph; '' for none.
export const pointed = signal('')

// foldFrom is the number of instances from which a block is folded.
const foldFrom = 4

export interface Block { name: string; own?: Module; instances: Module[] }

// blocks are the modules of the run, as they are now, by the block they are of, in their
// order.
export const blocks = computed<Block[]>(() => {
  changed.value
  const by = new Map<string, Block>()
  for (const name of moduleOrder.value) {
    const m = modules.get(name)!.peek()
    const key = m.of ?? m.name
    const block = by.get(key) ?? { name: key, instances: [] }
    by.set(key, block)
    if (m.of) block.instances.push(m)
    else block.own = m
  }
  return [...by.values()]
})

// leaves are the modules that run: a block that became instances is none.
export const leaves = computed(() => blocks.value.flatMap((b) => (b.instances.length > 0 ? b.instances : b.own ? [b.own] : [])))

export const asks = (m: Module) => m.state === 'waiting' && !!m.approval?.since && !m.approval.decision

export function kindOf(m: Module): [Kind, string] {
  return asks(m) ? ['ask', 'needs approval'] : ofModule(m.state)
}

const lost = (m: Module) => m.attempts.filter((a) => wasLost(a.state)).length

// elapsed is how long a module has run, or ran.
export function elapsed(m: Module): number {
  if (m.state === 'running' && m.startedAt) return Math.max(0, now.value - seconds(m.startedAt))
  return m.durationSeconds ?? NaN
}

// line says in a few words how a module stands.
export function line(m: Module): string {
  const again = m.attempts.length > 1 ? `attempt ${m.attempts.length}` : ''
  switch (m.state) {
    case 'running':
      if (m.children?.length) return `run ${m.children.at(-1)!.number}`
      return [m.worker, again, lost(m) ? 'one was lost' : ''].filter(Boolean).join(', ')
    case 'waiting':
      if (asks(m)) return m.approval!.message || 'waits for an approval'
      return m.reason || waiting.value[m.name] || waiting.value[''] || 'waiting'
    case 'cached':
      return m.cachedFrom ? `cached, took ${duration(m.cachedFrom.durationSeconds)} on ${m.cachedFrom.worker}` : 'cached'
    case 'failed':
      return [m.reason || (m.exitCode !== null ? `exit code ${m.exitCode}` : 'failed'), m.worker, again].filter(Boolean).join(', ')
    case 'succeeded':
      if (m.approval?.by) return `approved by ${m.approval.by}`
      return [m.worker, again, m.outputBytes ? bytes(m.outputBytes) : ''].filter(Boolean).join(', ')
  }
  return m.reason || m.state
}

const short = (m: Module) => (m.of ? m.name.slice(m.of.length + 1, -1) : m.name)

const wanted = (m: Module) => (!onlyFailed.value || m.state === 'failed' || lost(m) > 0) && m.name.toLowerCase().includes(find.value.toLowerCase())

export const chosenModule = computed(() => place.value.query.get('m') ?? '')

function Row({ name, inside }: { name: string; inside?: boolean }) {
  const m = modules.get(name)?.value
  if (!m) return null
  const [kind, word] = kindOf(m)
  const t = elapsed(m)
  const part = m.state === 'running' && m.expectedSeconds ? Math.min(1, t / m.expectedSeconds) : 0
  return (
    <li>
      <a href={withQuery({ m: name, a: null, with: null })} class={inside ? 'inside' : ''} aria-current={chosenModule.value === name ? 'true' : undefined} data-module={name}>
        <Shape kind={kind} />
        <span class="nm">
          <b>
            {short(m)}
            <span class="sr">, {word}</span>
          </b>
          <small>{line(m)}</small>
        </span>
        <span class="t">
          {t >= 0 && duration(t)}
          {m.expectedSeconds && m.state === 'waiting' ? <small>~{duration(m.expectedSeconds)}</small> : null}
        </span>
      </a>
      {part > 0 && (
        <span class="part" aria-hidden="true">
          <i style={{ width: `${part * 100}%` }} />
        </span>
      )}
    </li>
  )
}

const severity: Kind[] = ['bad', 'ask', 'run', 'wait', 'skip', 'ok', 'hit']

// worst is the state that a folded block shows.
export function worst(list: Module[]): Kind {
  const kinds = list.map((m) => kindOf(m)[0])
  if (kinds.includes('run')) return 'run'
  if (kinds.includes('wait') && kinds.some((k) => k === 'ok' || k === 'hit') && !kinds.includes('bad')) return 'run'
  return severity.find((k) => kinds.includes(k)) ?? 'wait'
}

function Group({ block }: { block: Block }) {
  const list = block.instances
  const kind = worst(list)
  const done = list.filter((m) => m.state !== 'waiting' && m.state !== 'running').length
  const failed = list.filter((m) => m.state === 'failed').length
  const cached = list.filter((m) => m.state === 'cached').length
  const searching = find.value !== '' || onlyFailed.value
  const open = searching || (list.length < foldFrom) !== turned.value.has(block.name)
  const rows = searching ? list.filter(wanted) : list
  if (searching && rows.length === 0) return null
  const turn = () => {
    const next = new Set(turned.value)
    if (!next.delete(block.name)) next.add(block.name)
    go(withQuery({ turn: [...next] }) + location.hash, true)
  }
  return (
    <>
      <li>
        <button aria-expanded={open} onClick={turn} data-module={block.name}>
          <Shape kind={kind} />
          <span class="nm">
            <b>{block.name}</b>
            <small>
              {[`${done} of ${list.length}`, cached ? `${cached} cached` : '', failed ? `${failed} failed` : ''].filter(Boolean).join(', ')}
            </small>
            {!open && (
              <span class={'cells' + (list.length < 8 ? ' few' : '')} aria-hidden="true">
                {list.slice(0, 240).map((m) => (
                  <i key={m.name} class={kindOf(m)[0]} title={m.name} />
                ))}
              </span>
            )}
          </span>
          <Icon name={open ? 'down' : 'right'} />
        </button>
      </li>
      {open && rows.map((m) => <Row key={m.name} name={m.name} inside />)}
    </>
  )
}

// point takes the module that an event is about.
const point = (e: Event) => (pointed.value = (e.target as Element).closest<HTMLElement>('[data-module]')?.dataset.module ?? '')
const unpoint = () => (pointed.value = '')

// ModuleList is the list; whole puts a link before it to what is of all modules.
export function ModuleList({ whole }: { whole?: string }) {
  useEffect(() => unpoint, [])
  const list = blocks.value
  const rows = list.map((b) => {
    if (b.instances.length > 0) return <Group key={b.name} block={b} />
    if (b.own && (!(find.value || onlyFailed.value) || wanted(b.own))) return <Row key={b.name} name={b.name} />
    return null
  })
  return (
    <section class="card modules" aria-label="Modules">
      <div class="cardh">
        Modules <small>{leaves.value.length}</small>
        <span class="grow" />
        <label class="find small">
          <Icon name="search" />
          <span class="sr">Find a module</span>
          <input type="search" id="find" placeholder="Find" value={find.value} onInput={(e) => go(withQuery({ q: e.currentTarget.value }) + location.hash, true)} />
          <kbd class="kbd hide-s" aria-hidden="true">
            /
          </kbd>
        </label>
        <button class="btn" aria-pressed={onlyFailed.value} onClick={() => go(withQuery({ only: onlyFailed.value ? null : 'failed' }) + location.hash, true)}>
          Failed
        </button>
      </div>
      <ul class="outline" onPointerOver={point} onPointerLeave={unpoint} onFocusIn={point} onFocusOut={unpoint}>
        {whole && (
          <li>
            <a href={withQuery({ m: null, a: null, with: null })} aria-current={chosenModule.value ? undefined : 'true'}>
              <Icon name="wrap" />
              <span class="nm">
                <b>{whole}</b>
              </span>
            </a>
          </li>
        )}
        {rows.some(Boolean) ? rows : <li class="none">No module matches.</li>}
      </ul>
    </section>
  )
}

// failures are the modules that failed or were lost, in the order of the list, for the
// keys.
export const failures = computed(() => leaves.value.filter((m) => m.state === 'failed' || lost(m) > 0))
