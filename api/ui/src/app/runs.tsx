// The list of runs, and beside it how each pipeline does and what comes next.
import { computed, signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { json } from './api'
import { clock, coarse, count, duration, median, seconds, triggers } from './format'
import { Icon, Shape, colour, ofRun, type Kind } from './icons'
import { Bar, Blank, Command, CopyAs, cli, curl } from './parts'
import { go, place, withQuery } from './route'
import { Beside } from './runsbeside'
import { hasWords } from './search'
import { Top, show, useKeys } from './shell'
import { final, listed, now, order, ref, runs, took, who } from './store'
import type { RunSummary } from './types'
import { approvals } from './waitingfor'

// older are runs before the newest ones, asked for by the page; they have ended,
// or change so rarely that they are as they were.
const older = signal<RunSummary[]>([])
const cursor = signal<string | null>(null) // null: not asked for yet; '': no more

export const all = computed(() => {
  const live = order.value.map((id) => runs.get(id)!)
  const known = new Set(order.value)
  const past = older.value.filter((r) => !known.has(r.id))
  for (const r of past) known.add(r.id)
  const more = found.value.runs.filter((r) => !known.has(r.id))
  return [...live.map((s) => s.value), ...[...past, ...more].sort((a, b) => b.number - a.number)]
})

// found is what the cluster found for a search: runs that are not in the list, and
// those with a module of that name.
const found = signal<{ q: string; runs: RunSummary[]; whole: boolean }>({ q: '', runs: [], whole: true })
const asksFor = signal(false)

function useSearch(q: string) {
  useEffect(() => {
    if (!q.trim()) {
      found.value = { q: '', runs: [], whole: true }
      return
    }
    const stop = new AbortController()
    asksFor.value = true
    const timer = setTimeout(async () => {
      try {
        const a = await json<{ runs: RunSummary[]; cursor?: string }>(`/api/v1/runs?limit=200&q=${encodeURIComponent(q.slice(0, 200))}`, { signal: stop.signal })
        found.value = { q, runs: a.runs, whole: !a.cursor }
      } catch {
        // The list that is there is searched all the same.
      }
      if (!stop.signal.aborted) asksFor.value = false
    }, 250)
    return () => {
      stop.abort()
      clearTimeout(timer)
      asksFor.value = false
    }
  }, [q])
}

// asked are the runs that wait for a person.
const asked = computed(() => new Set(approvals.value?.map((a) => a.run)))

// stateOf is how a run looks, and a word for it: one that waits for a person needs that
// before all else.
export const stateOf = (r: RunSummary, asks = asked.value.has(r.id)): [Kind, string] => (asks && !final(r.state) && r.state !== 'cancelling' ? ['ask', 'Needs approval'] : ofRun(r.state))

const chips: [string, string, Kind | '', (r: RunSummary) => boolean][] = [
  ['', 'All', '', () => true],
  ['active', 'Running', 'run', (r) => !final(r.state)],
  ['approval', 'Approval', 'ask', (r) => asked.value.has(r.id)],
  ['failed', 'Failed', 'bad', (r) => r.state === 'failed'],
  ['succeeded', 'Succeeded', 'ok', (r) => r.state === 'succeeded' || r.state === 'succeeded_with_warnings'],
  ['cancelled', 'Cancelled', 'skip', (r) => r.state === 'cancelled' || r.state === 'cancelling'],
]

const matches = (r: RunSummary, q: string) =>
  hasWords(`${r.pipeline} ${r.number} ${r.submitter ?? ''} ${r.schedule ?? ''} ${r.reason ?? ''} ${r.git?.branch ?? ''} ${r.git?.tag ?? ''} ${r.git?.sha ?? ''} ${r.id}`, q)

const shown = computed(() => {
  const q = place.value.query
  const chip = chips.find(([name]) => name === (q.get('state') ?? '')) ?? chips[0]
  const [pipeline, text, by] = [q.get('pipeline'), q.get('q') ?? '', q.get('by')]
  return all.value.filter((r) => chip[3](r) && (!pipeline || r.pipeline === pipeline) && (!by || r.submitter === by) && (matches(r, text) || (found.value.q === text && found.value.runs.some((f) => f.id === r.id))))
})

// usuals are what the newest runs of a pipeline took that went well: for each run, by its
// id, those before it; for each pipeline, by its name, all.
export const usuals = computed(() => {
  const usual = new Map<string, number>()
  const well = new Map<string, number[]>()
  for (const r of [...all.value].reverse()) {
    const list = well.get(r.pipeline) ?? []
    usual.set(r.id, median(list))
    if (r.state !== 'succeeded' && r.state !== 'succeeded_with_warnings') continue
    well.set(r.pipeline, [...list, seconds(r.finishedAt) - seconds(r.submittedAt) - (r.idleSeconds ?? 0)].slice(-20))
  }
  for (const [name, list] of well) usual.set(name, median(list))
  return usual
})

export function against(r: RunSummary, usual: number | undefined): string {
  if (!usual || !(usual > 0)) return ''
  if (!final(r.state)) return `usually ${duration(usual)}`
  if (r.state === 'cancelled') return ''
  const percent = Math.round((took(r) / usual - 1) * 100)
  return percent > 10 ? `${percent} % slower` : percent < -10 ? `${-percent} % faster` : 'as usual'
}

export const usualOf = (r: RunSummary) => usuals.value.get(r.id)

const commit = (r: RunSummary) => (r.git?.sha ? r.git.sha.slice(0, 8) + (r.git.dirty ? ', changed' : '') : r.id.slice(0, 8))

const note = (r: RunSummary) => {
  const waits = approvals.value?.find((a) => a.run === r.id)
  return waits ? `${waits.module} waits for ${waits.approvers?.length ? waits.approvers.join(' or ') : 'an approval'}` : r.reason || (r.state === 'waiting' ? 'accepted, nothing has started' : '')
}

const chosen = signal(0)

function Row({ r, at }: { r: RunSummary; at: number }) {
  const [kind, word] = stateOf(r)
  const by = r.schedule ? `schedule, ${r.trigger ? triggers[r.trigger] : clock(r.tick).slice(0, 5)}` : r.parent ? `module ${r.parent.module} of run ${r.parent.number}` : (r.submitter ?? '')
  return (
    <li>
      <a href={'/runs/' + ref(r)} data-run={r.number} class={chosen.value === at ? 'at' : ''}>
        <Shape kind={kind} />
        <span class="c1">
          <b>
            {r.pipeline} <span>{r.number}</span>
          </b>
          <small>{note(r) || <span class="mono">{commit(r)}</span>}</small>
        </span>
        <span class="c2 hide-s">
          {r.git?.branch || r.git?.tag ? (
            <>
              <span class="tag">
                <Icon name="branch" />
                <span>{r.git.tag || r.git.branch}</span>
              </span>
              <small>{by}</small>
            </>
          ) : (
            <>
              <Icon name={r.schedule ? 'schedules' : 'person'} />
              {by}
            </>
          )}
        </span>
        <span class="c3">
          <span>
            {r.modulesDone} of {r.moduleCount}
          </span>
          <Bar parts={[[final(r.state) ? colour(kind) : 'ok', r.modulesDone]]} total={r.moduleCount} label={`${r.modulesDone} of ${count(r.moduleCount, 'module')} done`} />
        </span>
        <span class="c4 hide-s">
          <b>{duration(took(r))}</b>
          <small>{against(r, usualOf(r))}</small>
        </span>
        <span class="c5">
          <span class={'pill s-' + colour(kind)}>{word}</span>
          <small>{coarse(now.value - seconds(r.submittedAt))} ago</small>
        </span>
      </a>
    </li>
  )
}

function Filters() {
  const q = place.value.query
  const state = q.get('state') ?? ''
  const me = who.value?.name ?? ''
  const counts = new Map(chips.map(([name, , , test]) => [name, all.value.filter(test).length]))
  return (
    <div class="filters" role="search">
      <label class="find">
        <Icon name="search" />
        <span class="sr">Search by pipeline, branch, commit, person, module or reason</span>
        <input
          type="search"
          id="find"
          placeholder="pipeline, branch, commit, person, module"
          value={q.get('q') ?? ''}
          onInput={(e) => go(withQuery({ q: e.currentTarget.value }), true)}
        />
        <kbd class="kbd" aria-hidden="true">
          /
        </kbd>
      </label>
      {chips.filter(([name]) => name !== 'approval' || state === name || counts.get(name)! > 0).map(([name, text, kind]) => (
        <a key={name} class="chip" aria-current={state === name ? 'true' : undefined} href={withQuery({ state: name })}>
          {kind && <Shape kind={kind} />}
          {text}
          {(name === 'active' || name === 'approval') && counts.get(name)! > 0 && <b>{counts.get(name)}</b>}
        </a>
      ))}
      {me && (
        <a class="chip" aria-current={q.get('by') === me ? 'true' : undefined} href={withQuery({ by: q.get('by') ? null : me })}>
          Mine
        </a>
      )}
      {q.get('pipeline') && (
        <a class="chip" aria-current="true" href={withQuery({ pipeline: null })} aria-label={`Only ${q.get('pipeline')}: show all pipelines`}>
          {q.get('pipeline')}
          <Icon name="close" />
        </a>
      )}
    </div>
  )
}

async function loadOlder() {
  const path = (c: string) => `/api/v1/runs?limit=100${c ? '&cursor=' + encodeURIComponent(c) : ''}`
  type Page = { runs: RunSummary[]; cursor?: string }
  let from = cursor.value
  if (from === null) from = (await json<Page>(path(''))).cursor ?? ''
  if (from) {
    const page = await json<Page>(path(from))
    older.value = [...older.value, ...page.runs]
    from = page.cursor ?? ''
  }
  cursor.value = from
}

function Empty() {
  if (all.value.length > 0) {
    return (
      <Blank title="No run matches">
        <p>
          <a href="/runs">Show all runs</a>
        </p>
      </Blank>
    )
  }
  return (
    <Blank title="No runs yet">
      <p>In the directory of a project, this writes a pipeline for it:</p>
      <Command text="pipelined init" />
      <p>This shows what it would do, and starts nothing:</p>
      <Command text="pipelined plan" />
      <p>This runs it, and it appears here:</p>
      <Command text="pipelined submit" />
    </Blank>
  )
}

// oneState is the state of runs that a filter mostly stands for.
const oneState: Record<string, string> = { active: 'running', failed: 'failed', succeeded: 'succeeded', cancelled: 'cancelled' }

// filters are what the command and the call know of what the page filters by. Words find
// the submitter too.
function filters(q: URLSearchParams): { state: string; pipeline: string; words: string } {
  return { state: oneState[q.get('state') ?? ''] ?? '', pipeline: q.get('pipeline') ?? '', words: [q.get('q')?.trim(), q.get('by')].filter(Boolean).join(' ') }
}

function asWords(q: URLSearchParams): string[] {
  const { state, pipeline, words } = filters(q)
  return [...(state ? ['-state', state] : []), ...(pipeline ? ['-pipeline', pipeline] : []), ...(words ? ['-search', words] : [])]
}

function asQuery(q: URLSearchParams): string {
  const { state, pipeline, words } = filters(q)
  const query = new URLSearchParams({ ...(state && { state }), ...(pipeline && { pipeline }), ...(words && { q: words }) }).toString()
  return query && '?' + query
}

export function Runs() {
  useSearch(place.value.query.get('q') ?? '')
  const list = shown.value
  const running = all.value.filter((r) => !final(r.state)).length
  show(running ? 'run' : all.value[0] ? ofRun(all.value[0].state)[0] : 'wait', running ? `${running} running, pipelined` : 'Runs, pipelined')
  const move = (by: number) => {
    chosen.value = Math.max(0, Math.min(list.length - 1, chosen.value + by))
    document.querySelectorAll<HTMLElement>('.runs a[data-run]')[chosen.value]?.focus()
  }
  useKeys({
    '/': ['search', () => document.getElementById('find')?.focus()],
    j: ['next run', () => move(1)],
    k: ['run before', () => move(-1)],
    o: ['open the run', () => list[chosen.value] && go('/runs/' + ref(list[chosen.value]))],
  })

  return (
    <>
      <Top path={[['Runs']]}>
        <CopyAs
          lines={
            place.value.query.get('state') === 'approval'
              ? [
                  ['Command', cli('approvals')],
                  ['curl', curl('GET', '/api/v1/approvals')],
                ]
              : [
                  ['Command', cli('list', ...asWords(place.value.query))],
                  ['curl', curl('GET', '/api/v1/runs' + asQuery(place.value.query))],
                ]
          }
        />
      </Top>
      <div class="scroll two-columns">
        <h1 class="sr">Runs</h1>
        <Filters />
        <section class="card runs" aria-label="Runs, newest first">
          {!listed.value ? (
            <Blank title="Asking the cluster" />
          ) : list.length === 0 ? (
            asksFor.value ? <Blank title="Asking the cluster" /> : <Empty />
          ) : (
            <ul>
              {list.map((r, at) => (
                <Row key={r.id} r={r} at={at} />
              ))}
            </ul>
          )}
          {found.value.q !== '' && !found.value.whole && <p class="foot">There may be more among older runs.</p>}
          {listed.value && found.value.q === '' && order.value.length >= 100 && cursor.value !== '' && (
            <button class="more" onClick={() => loadOlder()}>
              Show older runs
            </button>
          )}
        </section>
        <Beside />
      </div>
    </>
  )
}
