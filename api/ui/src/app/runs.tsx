// The list of runs, and beside it how each pipeline does and what comes next.
import { computed, signal } from '@preact/signals'
import { json } from './api'
import { clock, coarse, count, duration, median, seconds } from './format'
import { Icon, Shape, colour, ofRun, type Kind } from './icons'
import { Bar, Blank, Command, CopyAs, cli, curl, every, inZone, utc } from './parts'
import { go, place, withQuery } from './route'
import { Top, show, useKeys } from './shell'
import { final, listed, now, order, ref, runs, took, who } from './store'
import type { RunSummary, Schedule } from './types'

// older are runs before the newest ones, asked for by the page; they have ended,
// or change so rarely that they are as they were.
const older = signal<RunSummary[]>([])
const cursor = signal<string | null>(null) // null: not asked for yet; '': no more

const all = computed(() => {
  const live = order.value.map((id) => runs.get(id)!)
  const known = new Set(order.value)
  return [...live.map((s) => s.value), ...older.value.filter((r) => !known.has(r.id))]
})

const chips: [string, string, Kind | '', (r: RunSummary) => boolean][] = [
  ['', 'All', '', () => true],
  ['active', 'Running', 'run', (r) => !final(r.state)],
  ['failed', 'Failed', 'bad', (r) => r.state === 'failed'],
  ['succeeded', 'Succeeded', 'ok', (r) => r.state === 'succeeded' || r.state === 'succeeded_with_warnings'],
  ['cancelled', 'Cancelled', 'skip', (r) => r.state === 'cancelled' || r.state === 'cancelling'],
]

const matches = (r: RunSummary, q: string) =>
  q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => `${r.pipeline} ${r.number} ${r.submitter ?? ''} ${r.schedule ?? ''} ${r.reason ?? ''} ${r.id}`.toLowerCase().includes(word))

const shown = computed(() => {
  const q = place.value.query
  const chip = chips.find(([name]) => name === (q.get('state') ?? '')) ?? chips[0]
  const [pipeline, text, by] = [q.get('pipeline'), q.get('q') ?? '', q.get('by')]
  return all.value.filter((r) => chip[3](r) && (!pipeline || r.pipeline === pipeline) && (!by || r.submitter === by) && matches(r, text))
})

// usuals are what the newest runs of a pipeline took that went well: for each run, by its
// id, those before it; for each pipeline, by its name, all.
const usuals = computed(() => {
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

const note = (r: RunSummary) => r.reason || (r.state === 'waiting' ? 'accepted, nothing has started' : '')

const chosen = signal(0)

function Row({ r, at }: { r: RunSummary; at: number }) {
  const [kind, word] = ofRun(r.state)
  const by = r.schedule ? `schedule${r.tick ? ', ' + clock(r.tick).slice(0, 5) : ''}` : (r.submitter ?? '')
  return (
    <li>
      <a href={'/runs/' + ref(r)} data-run={r.number} class={chosen.value === at ? 'at' : ''}>
        <Shape kind={kind} />
        <span class="c1">
          <b>
            {r.pipeline} <span>{r.number}</span>
          </b>
          <small>{note(r) || <span class="mono">{r.id.slice(0, 8)}</span>}</small>
        </span>
        <span class="c2 hide-s">
          <Icon name={r.schedule ? 'schedules' : 'person'} />
          {by}
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
        <span class="sr">Search by pipeline, number, person or reason</span>
        <input
          type="search"
          id="find"
          placeholder="pipeline, number, person, reason"
          value={q.get('q') ?? ''}
          onInput={(e) => go(withQuery({ q: e.currentTarget.value }), true)}
        />
        <kbd class="kbd" aria-hidden="true">
          /
        </kbd>
      </label>
      {chips.map(([name, text, kind]) => (
        <a key={name} class="chip" aria-current={state === name ? 'true' : undefined} href={withQuery({ state: name })}>
          {kind && <Shape kind={kind} />}
          {text}
          {name === 'active' && counts.get(name)! > 0 && <b>{counts.get(name)}</b>}
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
      <p>Write a pipeline, and submit it from its directory:</p>
      <Command text={"printf 'pipeline \"hello\" {\\n  module \"greet\" {\\n    script = \"echo hello\"\\n  }\\n}\\n' > hello.hcl"} />
      <Command text="pipelined submit hello.hcl" />
      <p>It appears here while it runs. This shows what it would do, and starts nothing:</p>
      <Command text="pipelined plan hello.hcl" />
    </Blank>
  )
}

export function Runs() {
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
          lines={[
            ['Command', cli('list')],
            ['curl', curl('GET', '/api/v1/runs')],
          ]}
        />
      </Top>
      <div class="scroll two-columns">
        <h1 class="sr">Runs</h1>
        <Filters />
        <section class="card runs" aria-label="Runs, newest first">
          {!listed.value ? (
            <Blank title="Asking the cluster" />
          ) : list.length === 0 ? (
            <Empty />
          ) : (
            <ul>
              {list.map((r, at) => (
                <Row key={r.id} r={r} at={at} />
              ))}
            </ul>
          )}
          {listed.value && order.value.length >= 100 && cursor.value !== '' && (
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

// Beside the list: pipelines by their newest runs, and schedules.
function Beside() {
  const names = [...new Set(all.value.map((r) => r.pipeline))]
  if (names.length === 0) return null
  const first = place.value.query.get('pipeline') ?? all.value.find((r) => final(r.state))?.pipeline ?? names[0]
  return (
    <aside class="side" aria-label="Pipelines and schedules">
      <section class="card">
        <Trend name={first} list={all.value.filter((r) => r.pipeline === first && final(r.state)).slice(0, 20).reverse()} />
        <ul class="pipelines">
          {names.slice(0, 8).map((name) => (
            <Pipeline key={name} name={name} />
          ))}
        </ul>
      </section>
      <Next />
    </aside>
  )
}

function Pipeline({ name }: { name: string }) {
  const ended = all.value.filter((r) => r.pipeline === name && final(r.state) && r.state !== 'cancelled').slice(0, 20)
  const well = ended.filter((r) => r.state !== 'failed').length
  const usual = usuals.value.get(name)
  return (
    <li>
      <a href={withQuery({ pipeline: name }, '/runs')}>
        <b>{name}</b>
        <span>{usual ? duration(usual) : ''}</span>
        <small>{ended.length ? `${well} of ${ended.length} went well` : 'none has ended'}</small>
        <small>{usual ? 'usually' : ''}</small>
      </a>
    </li>
  )
}

function Trend({ name, list }: { name: string; list: RunSummary[] }) {
  const longest = Math.max(...list.map(took), 0.001)
  const failed = list.filter((r) => r.state === 'failed').length
  return (
    <>
      <h2 class="cardh">
        {name} <small>{list.length ? `last ${count(list.length, 'run')}` : 'no run has ended'}</small>
      </h2>
      {list.length > 0 && (
        <div class="trend" role="img" aria-label={`Durations of the last ${count(list.length, 'run')} of ${name}; ${failed} failed`}>
          {list.map((r) => (
            <i key={r.id} class={colour(ofRun(r.state)[0])} style={{ height: `${Math.max(6, (took(r) / longest) * 100)}%` }} title={`${r.number}: ${duration(took(r))}`} />
          ))}
        </div>
      )}
    </>
  )
}

const schedules = signal<Schedule[]>([])

function Next() {
  every(30000, () => json<{ schedules: Schedule[] }>('/api/v1/schedules').then((a) => (schedules.value = a.schedules)))
  const due = schedules.value.filter((s) => s.next && !s.paused).sort((a, b) => seconds(a.next) - seconds(b.next))
  if (due.length === 0) return null
  return (
    <section class="card">
      <h2 class="cardh">
        Next <small>by schedule</small>
      </h2>
      <ul class="pipelines">
        {due.slice(0, 6).map((s) => (
          <li key={s.name}>
            <a href="/schedules">
              <b>{s.name}</b>
              <span>in {coarse(seconds(s.next) - now.value)}</span>
              <small>
                {inZone(s.next!, s.timezone)}, {utc(s.next!)}
              </small>
              <small />
            </a>
          </li>
        ))}
      </ul>
    </section>
  )
}
