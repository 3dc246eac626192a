// One run: how it stands, its timeline, its modules and their output.
import { computed } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { expectedEnd } from './expected'
import { count, dateTime, duration, seconds, triggers } from './format'
import { GraphCard } from './graphcard'
import { Icon, type Kind } from './icons'
import { missing, watched } from './live'
import { LogPane, type LogKeys } from './logpane'
import { ModuleList, chosenModule, failures, kindOf, leaves } from './modules'
import { ModulePane } from './pane'
import { Notice } from './notice'
import { Plan } from './plan'
import { Act, Bar, Blank, Command, CopyAs, Pill, cli, curl, offer } from './parts'
import { go, segments, withQuery } from './route'
import { EventsTab, TakeoverNotice } from './runevents'
import { against, stateOf, usualOf } from './runs'
import { Top, show, useKeys } from './shell'
import { events, final, may, now, ref, run, took, variables } from './store'
import { Outputs, WhyTab } from './tabs'
import { TestsTab } from './tests'
import { TimelineCard } from './timelinecard'
import type { Module, RunLink, RunSummary } from './types'

const tabs = [
  ['', 'Overview'],
  ['graph', 'Graph'],
  ['timeline', 'Timeline'],
  ['log', 'Log'],
  ['outputs', 'Outputs'],
  ['tests', 'Tests'],
  ['events', 'Events'],
  ['plan', 'Plan'],
  ['why', 'Why'],
] as const

// listed are the views that have the list of modules beside them.
const listed = new Set<string>(['', 'graph', 'timeline', 'log'])

export const runTabs = new Set<string>(tabs.map(([name]) => name))

export const runPath = (r: RunSummary) => '/api/v1/runs/' + r.id

// counts are the modules by their state.
const counts = computed(() => {
  const n: Record<Kind, number> = { ok: 0, hit: 0, run: 0, bad: 0, odd: 0, skip: 0, wait: 0, ask: 0 }
  for (const m of leaves.value) n[kindOf(m)[0]]++
  return n
})

const words: [Kind, string][] = [
  ['run', 'running'],
  ['ask', 'waiting for an approval'],
  ['wait', 'waiting'],
  ['hit', 'cached'],
  ['bad', 'failed'],
  ['skip', 'skipped'],
]

// left is how much longer the run is expected to take; how long a person takes is not known.
function left(r: RunSummary): string {
  const usual = usualOf(r)
  if (final(r.state) || !usual || counts.value.ask > 0) return ''
  const end = expectedEnd(r, leaves.value, now.value)
  const rest = end.whole ? end.at - now.value : Math.max(usual - took(r), end.at - now.value)
  return rest > 1 ? `about ${duration(Math.round(rest))} left` : 'longer than usual'
}

// noted is what the name of a view says beside it: how many there are of what it shows.
function noted(tab: string): string {
  const sum = (of: (m: Module) => number | undefined) => leaves.value.reduce((n, m) => n + (of(m) ?? 0), 0)
  switch (tab) {
    case 'outputs':
      return number(sum((m) => m.outputCount ?? m.outputs?.length))
    case 'tests':
      return sum((m) => m.tests?.failed) ? number(sum((m) => m.tests?.failed)) + ' failed' : number(sum((m) => m.tests?.total))
    case 'events':
      return number(events.value?.length ?? 0)
  }
  return ''
}

const number = (n: number) => (n > 0 ? n.toLocaleString('en') : '')

// shownVariables is how many variables the head has; the plan has all.
const shownVariables = 4

function Variables({ r }: { r: RunSummary }) {
  const all = variables.value
  return (
    <>
      {all.slice(0, shownVariables).map(([name, value]) => (
        <span key={name} class="tag var" title={value === null ? `${name} is sensitive` : `${name} = ${value}`}>
          <span>{value === null ? `${name} is sensitive` : `${name} = ${value}`}</span>
        </span>
      ))}
      {all.length > shownVariables && (
        <a class="tag" href={withQuery(ofTabs, address(r, 'plan'))}>
          {count(all.length - shownVariables, 'more variable')}
        </a>
      )}
    </>
  )
}

// Other links to the run that this one retries with other values, or that retries it.
function Other({ to, text }: { to: RunLink; text: string }) {
  return (
    <a class="tag var" href={`/runs/${to.number}`} title={text}>
      <Icon name="retry" />
      <span>{text}</span>
    </a>
  )
}

const valuesOf = (names: string[]) =>
  names.map((name, i) => {
    const value = variables.value.find(([n]) => n === name)?.[1]
    return `${i ? 'and' : 'with'} ${name}${value == null ? '' : ` = ${value}`}`
  })

function Head({ r, tab }: { r: RunSummary; tab: string }) {
  const n = counts.value
  const [kind, word] = stateOf(r, n.ask > 0)
  const done = n.ok + n.hit + n.bad + n.skip
  const total = Math.max(r.moduleCount, leaves.value.length)
  return (
    <div class="head">
      <div class="h1">
        <Pill kind={kind}>{word}</Pill>
        <h1>
          {r.pipeline} <span>{r.number}</span>
        </h1>
        {r.git?.sha && (
          <span class="tag" title={r.git.sha}>
            <Icon name="branch" />
            {[r.git.tag || r.git.branch, r.git.sha.slice(0, 8)].filter(Boolean).join(' ') + (r.git.dirty ? ', changed' : '')}
          </span>
        )}
        {r.parent && (
          <a class="tag" href={`/runs/${r.parent.number}?m=${encodeURIComponent(r.parent.module)}`}>
            module {r.parent.module} of run {r.parent.number}
          </a>
        )}
        <span class="tag">
          <Icon name={r.schedule ? 'schedules' : 'person'} />
          {r.schedule ? `schedule, ${triggers[r.trigger ?? '']}` : r.submitter}
          {r.tick && (
            <>
              {r.trigger || !r.schedule ? ' for' : ''}{' '}
              <time dateTime={r.tick} title={`run.tick = "${r.tick}"`}>{r.tick.replace('T', ' ')}</time>
            </>
          )}
        </span>
        <span class="tag">
          <Icon name="clock" />
          {dateTime(r.submittedAt)}
        </span>
        {r.retryOf && <Other to={r.retryOf} text={['retry of', r.retryOf.number, ...valuesOf(r.retryOf.variables ?? [])].join(' ')} />}
        {r.retriedAs?.map((to) => (
          <Other key={to.id} to={to} text={`retried as ${to.number}`} />
        ))}
        <Variables r={r} />
        {r.notices?.map((n) => (
          <span key={n.name + n.at} class="tag" title={[`${n.name}: ${n.event} to webhook ${n.webhook}`, n.reason].filter(Boolean).join('; ')}>
            <span>{n.state === 'delivered' ? `${n.webhook} notified of ${n.event}` : `${n.event} to ${n.webhook}: ${n.state}`}</span>
          </span>
        ))}
        {r.pinned && (
          <span class="tag only-s">
            <Icon name="pin" />
            pinned
          </span>
        )}
      </div>
      <div class="prog">
        <Bar
          parts={[
            ['ok', n.ok],
            ['hit', n.hit],
            ['bad', n.bad],
            ['skip', n.skip],
            ['run', n.run],
            ['odd', n.ask],
          ]}
          total={total}
          label={`${n.ok} succeeded, ${words.map(([k, text]) => `${n[k]} ${text}`).join(', ')}`}
        />
        <span>
          <b>
            {done} of {total}
          </b>{' '}
          done
        </span>
        {words.map(([k, text]) => n[k] > 0 && <span key={k}>{`${n[k]} ${text}`}</span>)}
        <span>
          <b>{duration(took(r))}</b>
          {[left(r), against(r, usualOf(r))].filter(Boolean).map((t) => ', ' + t)}
        </span>
      </div>
      <nav class="tabs" aria-label="Views of the run">
        {tabs.map(([name, text]) => {
          const note = noted(name)
          return (
            <a key={name} href={toTab(r, tab, name)} aria-current={tab === name ? 'page' : undefined}>
              {text}
              {note && [' ', <small class={note.endsWith('failed') ? 's-bad' : ''}>{note}</small>]}
            </a>
          )
        })}
      </nav>
    </div>
  )
}

// ofTabs are the parameters that only one view knows.
const ofTabs = { with: null, find: null, case: null, regexp: null, file: null, of: null, from: null, to: null, rows: null, state: null, q: null, limit: null }

// toTab is the address of another view. Those that have the list of modules keep what is
// searched for in it, and the parts that they have in common.
const toTab = (r: RunSummary, from: string, to: string) => withQuery(listed.has(from) && listed.has(to) ? { with: null } : ofTabs, address(r, to))

const address = (r: RunSummary, tab: string) => `/runs/${ref(r)}${tab && '/' + tab}`

function Actions({ r }: { r: RunSummary }) {
  const n = ref(r)
  return (
    <>
      <CopyAs
        lines={[
          ['State', cli('status', n)],
          ['Follow', cli('watch', n)],
          ['Output', cli('logs', n)],
          ['curl', curl('GET', runPath(r))],
        ]}
      />
      {may('submit') && (
        <Act kind="hide-s" pressed={!!r.pinned} onClick={() => pin(r)}>
          <Icon name="pin" />
          {r.pinned ? 'Pinned' : 'Pin'}
        </Act>
      )}
      {may('submit') && !final(r.state) && (
        <Act off={r.state === 'cancelling'} onClick={() => cancel(r)}>
          <Icon name="stop" />
          Cancel
        </Act>
      )}
      {may('submit') && (r.state === 'failed' || r.state === 'cancelled') && (
        <Act kind="pri" onClick={() => retry(r)}>
          <Icon name="retry" />
          Retry
        </Act>
      )}
    </>
  )
}

function pin(r: RunSummary) {
  const what = r.pinned ? 'unpin' : 'pin'
  offer({
    title: r.pinned ? `Unpin ${r.pipeline} ${r.number}?` : `Pin ${r.pipeline} ${r.number}?`,
    text: r.pinned ? 'Its output and files are deleted when they are older than the cluster keeps.' : 'The run, its output and its files are kept until it is unpinned.',
    button: r.pinned ? 'Unpin' : 'Pin',
    cli: () => cli(what, ref(r)),
    path: `${runPath(r)}/${what}`,
    done: `${r.pipeline} ${r.number} is ${what}ned`,
  })
}

function cancel(r: RunSummary) {
  offer({
    title: `Cancel ${r.pipeline} ${r.number}?`,
    text: 'What runs is stopped; modules with always_run still run. What has succeeded stays.',
    button: 'Cancel the run',
    danger: true,
    cli: () => cli('cancel', ref(r)),
    path: runPath(r) + '/cancel',
    body: () => ({}),
    done: `${r.pipeline} ${r.number} is being cancelled`,
  })
}

export function retry(r: RunSummary, from?: string) {
  offer({
    title: from ? `Retry ${r.pipeline} ${r.number} from ${from}?` : `Retry ${r.pipeline} ${r.number}?`,
    text: from ? `${from} and all that depends on it run again; the rest stays.` : 'What did not succeed runs again; what succeeded stays.',
    button: from ? 'Retry from here' : 'Retry',
    cli: () => cli('retry', ref(r), ...(from ? ['-from', from] : [])),
    path: runPath(r) + '/retry',
    body: () => (from ? { from: [from] } : {}),
    done: `${r.pipeline} ${r.number} continues`,
  })
}

export function RunPage() {
  const [, name, tab = ''] = segments.value
  const log = useRef<LogKeys | null>(null)
  useEffect(() => {
    watched.value = name
  }, [name])
  useEffect(() => () => void (watched.value = ''), [])

  const r = run.value
  useEffect(() => {
    // The newest run is soon another one: the address names this one.
    if (run.peek() && /(?:^|\/)last$/.test(name)) go(withQuery({}, address(run.peek()!, tab)) + location.hash, true)
  }, [r?.id])
  const step = (by: number) => {
    const list = failures.value
    if (!list.length) return
    const i = list.findIndex((m) => m.name === chosenModule.value)
    go(withQuery({ m: list[(i + by + list.length) % list.length].name, a: null }))
  }
  const turn = (by: number) => {
    if (!r) return
    const i = tabs.findIndex(([t]) => t === tab)
    go(toTab(r, tab, tabs[(i + by + tabs.length) % tabs.length][0]))
  }
  useKeys({
    '/': ['find a module; on the log: search it', () => ((tab === 'log' && document.querySelector<HTMLElement>('.logbar input')) || document.getElementById('find'))?.focus()],
    n: ['next failure', () => step(1)],
    p: ['failure before', () => step(-1)],
    '[': ['tab before', () => turn(-1)],
    ']': ['next tab', () => turn(1)],
    f: ['follow the log, or stop', () => log.current?.follow()],
    t: ['times in the log', () => log.current?.times()],
  })

  if (!r) {
    show('wait', `Run ${name}, pipelined`)
    return (
      <>
        <Top path={[['Runs', '/runs'], [name]]} />
        {missing.value ? (
          <Blank page title="This run cannot be shown">
            <p>{missing.value}</p>
            <Command text="pipelined list" />
          </Blank>
        ) : (
          <Blank page title="Asking the cluster" />
        )}
      </>
    )
  }

  const [kind, word] = stateOf(r, counts.value.ask > 0)
  show(kind, `${word}: ${r.pipeline} ${r.number}`)
  const m = chosenModule.value
  return (
    <>
      <Top path={[['Runs', '/runs'], [r.pipeline, `/runs?pipeline=${encodeURIComponent(r.pipeline)}`], [String(r.number)]]}>
        <Actions r={r} />
      </Top>
      <Notice r={r} />
      <TakeoverNotice r={r} />
      <Head r={r} tab={tab} />
      {listed.has(tab) && (
        <div class={'body listed of-' + (tab || 'overview')}>
          <ModuleList whole={tab === 'log' ? 'All modules' : undefined} />
          <div class="views">
            {(tab === '' || tab === 'graph') && <GraphCard key={tab} r={r} tall={tab === 'graph'} />}
            {(tab === '' || tab === 'timeline') && <TimelineCard />}
            {m ? <ModulePane r={r} name={m} keys={log} /> : (tab === '' || tab === 'log') && <WholeLog r={r} keys={log} />}
          </div>
        </div>
      )}
      {tab === 'outputs' && <Outputs r={r} />}
      {tab === 'tests' && <TestsTab r={r} />}
      {tab === 'events' && <EventsTab r={r} />}
      {tab === 'plan' && <Plan r={r} />}
      {tab === 'why' && <WhyTab r={r} />}
    </>
  )
}

function WholeLog({ r, keys }: { r: RunSummary; keys: { current: LogKeys | null } }) {
  return (
    <section class="card pane whole" aria-label="Output">
      <h2 class="cardh">
        Output <small>{`of all modules, by time: the last ${r.moduleCount > 50 ? 200 : '2,000'} lines of each, and what comes`}</small>
      </h2>
      {r.logsGone ? (
        <Blank title="The output is gone">
          <p>It was older than the cluster keeps. Pin a run to keep all of it.</p>
        </Blank>
      ) : (
        <LogPane key={r.id} run={r.id} last={r.moduleCount > 50 ? 200 : 2000} start={seconds(r.submittedAt)} command={cli('logs', ref(r), ...(final(r.state) ? [] : ['-f']))} keys={keys} empty="Nothing has been written yet." />
      )}
    </section>
  )
}
