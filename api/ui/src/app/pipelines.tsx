// Pipelines by their last runs: how long, how often they fail, what is flaky, what
// costs most, and two runs side by side.
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { Card, useAsked } from './card'
import { Compare, comparePath, sides } from './compare'
import { coarse, count, duration, percent, seconds } from './format'
import { Shape, ofModule, ofRun, type Kind } from './icons'
import { Blank, Choice, Command, CopyAs, Figure, Table, cli, curl } from './parts'
import { pipelineLink, place, runLink } from './route'
import { Top, show } from './shell'
import { now } from './store'
import { Trend } from './trend'
import type { ModuleState, RunState } from './types'

export interface RunPoint { id: string; number: number; state: RunState; submittedAt: string; finishedAt?: string; seconds?: number; modules: number; cached: number; failed: number; flaky?: number }
interface Pipeline { name: string; runs: number; active: number; newest: RunPoint[]; p50Seconds?: number; p95Seconds?: number; failureRate?: number; cacheRate?: number; trend?: number; next?: string; paused?: boolean }
interface Where { run: string; number: number; attempt: number; reason: string }
interface ModuleHistory { name: string; of?: string; runs: number; failed: number; cached: number; flaky: number; failureRate?: number; cacheRate?: number; flakyRate?: number; p50Seconds?: number; p95Seconds?: number; trend?: number; seconds: (number | null)[]; states: ModuleState[]; lastFailed?: Where; lastFlaky?: Where }
interface TestHistory { module: string; suite?: string; class?: string; name: string; runs: number; times: number; rate: number; last: { number: number; attempt: number; message?: string } }
interface Slowest { module: string; suite?: string; class?: string; name: string; seconds: number; number: number }
interface History extends Pipeline { modules: ModuleHistory[]; tests?: { runs: number; newest: { total: number; failed: number; flaky: number }; flaky: TestHistory[]; failed: TestHistory[]; slowest: Slowest[] } }

const pipelines = signal<Pipeline[] | null>(null)
const history = signal<History | null>(null)

const slower = (trend?: number) => (trend === undefined ? '' : trend > 1.1 ? `${Math.round((trend - 1) * 100)} % slower lately` : trend < 0.9 ? `${Math.round((1 - trend) * 100)} % faster lately` : 'steady')

export function Pipelines({ name }: { name?: string }) {
  return name ? <One name={name} /> : <All />
}

function All() {
  const refused = useAsked<Pipeline[]>('/api/v1/pipelines', pipelines, (a) => a.pipelines, 5000)
  const list = pipelines.value
  show('wait', 'Pipelines, pipelined')
  return (
    <>
      <Top path={[['Pipelines']]}>
        <CopyAs
          lines={[
            ['Command', cli('history')],
            ['curl', curl('GET', '/api/v1/pipelines')],
          ]}
        />
      </Top>
      <div class="scroll">
        <h1 class="sr">Pipelines</h1>
        <Card
          title="Pipelines"
          note={list ? `${count(list.length, 'pipeline')}; figures over the last 50 runs that ended` : ''}
          list={list}
          refused={refused}
          blank={
            <Blank title="No pipeline has run yet">
              <p>Submit one, and its history begins here:</p>
              <Command text="pipelined submit hello.hcl" />
            </Blank>
          }
        >
          <Table heads={['Pipeline', 'Last runs', 'Median', '95 %', 'Failed', 'From cache', 'Next']}>
            {list?.map((p) => (
              <tr key={p.name}>
                <th scope="row">
                  <b>
                    <a href={pipelineLink(p.name)}>{p.name}</a>
                  </b>
                  <small>{`${count(p.runs, 'run')}${p.active ? `, ${p.active} active` : ''}`}</small>
                </th>
                <td data-label="Last runs">{p.newest.length > 0 ? <Trend list={p.newest} of={p.name} size="small" /> : <span class="muted">none</span>}</td>
                <td data-label="Median">
                  {p.p50Seconds !== undefined ? duration(p.p50Seconds) : <span class="muted">not known</span>}
                  <small class={(p.trend ?? 1) > 1.1 ? 's-odd' : ''}>{slower(p.trend)}</small>
                </td>
                <td data-label="95 %">{p.p95Seconds !== undefined ? duration(p.p95Seconds) : ''}</td>
                <td data-label="Failed" class={(p.failureRate ?? 0) > 0.1 ? 's-bad' : ''}>
                  {percent(p.failureRate)}
                </td>
                <td data-label="From cache">{percent(p.cacheRate)}</td>
                <td data-label="Next">{p.paused ? <span class="rl dr">paused</span> : p.next ? <a href="/schedules">in {coarse(seconds(p.next) - now.value)}</a> : <span class="muted">by hand</span>}</td>
              </tr>
            ))}
          </Table>
        </Card>
      </div>
    </>
  )
}

const sizes = [20, 50, 200]

// comparing are the command and the call that compare the two runs of the address.
function comparing(q: URLSearchParams, list: RunPoint[]): [string, string][] {
  const [a, b] = sides(q, list)
  if (!a || !b || a === b) return []
  return [
    ['Comparison', cli('history', '-compare', `${a},${b}`)],
    ['Comparison, curl', curl('GET', comparePath(a, b))],
  ]
}

function One({ name }: { name: string }) {
  const q = place.value.query
  const size = sizes.find((n) => String(n) === q.get('runs')) ?? 50
  const path = `/api/v1/pipelines/history?pipeline=${encodeURIComponent(name)}&limit=${size}`
  useEffect(() => void (history.value = null), [path])
  const refused = useAsked<History>(path, history, (a) => a, 10000)
  const h = history.value
  const kind: Kind = h?.newest[0] ? ofRun(h.newest[0].state)[0] : 'wait'
  show(kind, `${name}, pipelined`)
  return (
    <>
      <Top path={[['Pipelines', '/pipelines'], [name]]}>
        <CopyAs
          lines={[
            ['Command', cli('history', ...(size === 50 ? [] : ['-limit', String(size)]), name)],
            ['curl', curl('GET', path)],
            ...comparing(q, h?.newest ?? []),
          ]}
        />
      </Top>
      <div class="scroll">
        {refused ? (
          <Blank page title={refused}>
            <p>
              <a href="/pipelines">Show all pipelines</a>
            </p>
          </Blank>
        ) : !h ? (
          <Blank page title="Asking the cluster" />
        ) : (
          <>
            <div class="pt">
              <h1>{name}</h1>
              <span class="muted">{[slower(h.trend), h.active ? count(h.active, 'active run') : '', h.paused ? 'its schedule is paused' : h.next ? `next in ${coarse(seconds(h.next) - now.value)}` : ''].filter(Boolean).join(', ')}</span>
              <span class="grow" />
              <Choice label="Over how many runs" name="runs" list={sizes.map((n) => [n === 50 ? '' : String(n), <>{n}<span class="sr"> runs</span></>])} chosen={size === 50 ? '' : String(size)} />
            </div>
            <dl class="card kpis">
              <Figure name="Median" value={h.p50Seconds !== undefined ? duration(h.p50Seconds) : 'not known'} note="of runs that went well" />
              <Figure name="95 %" value={h.p95Seconds !== undefined ? duration(h.p95Seconds) : 'not known'} note="took no longer" />
              <Figure name="Failed" value={percent(h.failureRate) || 'not known'} note={`${h.newest.filter((r) => r.state === 'failed').length} of ${count(h.newest.length, 'run')}`} />
              <Figure name="From cache" value={percent(h.cacheRate) || 'nothing'} note="of the modules that went well" />
              <Figure name="Flaky" value={String(h.modules.filter((m) => m.flaky > 0).length)} note="modules that needed another attempt" />
              <Figure name="Tests" value={h.tests ? h.tests.newest.total.toLocaleString('en') : 'none'} note={h.tests ? `${h.tests.newest.failed} failed, ${h.tests.newest.flaky} flaky in the newest run` : 'no module left test results'} />
            </dl>
            <RunsCard h={h} />
            <Compare list={h.newest} />
            <Modules h={h} />
            <Tests h={h} />
          </>
        )}
      </div>
    </>
  )
}

function RunsCard({ h }: { h: History }) {
  const list = h.newest
  return (
    <section class="card" aria-label="Runs">
      <h2 class="cardh">
        Runs <small>the last {count(list.length, 'run')}, the newest on the right</small>
        <span class="grow" />
        <a class="btn" href={`/runs?pipeline=${encodeURIComponent(h.name)}`}>
          List
        </a>
      </h2>
      {list.length === 0 ? (
        <p class="none">It has not run yet.</p>
      ) : (
        <>
          <Trend list={list} of={h.name} size="tall" />
          <p class="foot legend">
            {(['succeeded', 'succeeded_with_warnings', 'failed', 'cancelled'] as RunState[]).map((state) => {
              const [kind, word] = ofRun(state)
              const n = list.filter((r) => r.state === state).length
              return n > 0 && (
                <span key={state}>
                  <Shape kind={kind} /> {word} {n}
                </span>
              )
            })}
          </p>
        </>
      )}
    </section>
  )
}

function Modules({ h }: { h: History }) {
  const q = place.value.query
  const by = q.get('by') ?? ''
  const orders: [string, string, (m: ModuleHistory) => number][] = [
    ['', 'Slowest', () => 0],
    ['failed', 'Failing', (m) => m.failureRate ?? 0],
    ['flaky', 'Flaky', (m) => m.flakyRate ?? 0],
  ]
  const [order, , rank] = orders.find(([name]) => name === by) ?? orders[0]
  const list = order ? h.modules.filter((m) => rank(m) > 0).sort((a, b) => rank(b) - rank(a)) : h.modules
  return (
    <section class="card" aria-label="Modules">
      <div class="cardh">
        <h2>Modules</h2> <small>{order ? '' : 'what costs most first'}</small>
        <span class="grow" />
        <Choice label="Which modules" name="by" list={orders.map(([name, text]) => [name, text])} chosen={order} />
      </div>
      {list.length === 0 ? (
        <p class="none">{order === 'flaky' ? 'No module needed another attempt to succeed.' : order === 'failed' ? 'No module failed.' : 'No module has run.'}</p>
      ) : (
        <Table heads={['Module', 'Runs', 'Median', '95 %', 'Failed', 'Flaky', 'From cache']}>
          {list.slice(0, 50).map((m) => (
            <tr key={m.name}>
              <th scope="row" class="clip" title={m.name}>
                {m.name}
              </th>
              <td data-label="Runs">
                <span class="cells strip" role="img" aria-label={`${m.failed} of ${m.runs} failed, ${m.cached} from the cache`}>
                  {[...m.states].slice(0, 20).reverse().map((s, i) => (
                    <i key={i} class={ofModule(s)[0]} />
                  ))}
                </span>
              </td>
              <td data-label="Median">
                {m.p50Seconds !== undefined ? duration(m.p50Seconds) : ''}
                <small class={(m.trend ?? 1) > 1.1 ? 's-odd' : ''}>{slower(m.trend)}</small>
              </td>
              <td data-label="95 %">{m.p95Seconds !== undefined ? duration(m.p95Seconds) : ''}</td>
              <td data-label="Failed" class={m.failed ? 's-bad' : ''}>
                {percent(m.failureRate)}
                {m.lastFailed && (
                  <small>
                    <a href={runLink(m.lastFailed.number, m.name, m.lastFailed.attempt)}>last in {m.lastFailed.number}</a>
                  </small>
                )}
              </td>
              <td data-label="Flaky" class={m.flaky ? 's-odd' : ''}>
                {percent(m.flakyRate)}
                {m.lastFlaky && (
                  <small>
                    <a href={runLink(m.lastFlaky.number, m.name, m.lastFlaky.attempt)}>last in {m.lastFlaky.number}</a>
                  </small>
                )}
              </td>
              <td data-label="From cache">{percent(m.cacheRate)}</td>
            </tr>
          ))}
        </Table>
      )}
      {list.length > 50 && <p class="foot">The first 50 of {count(list.length, 'module')}.</p>}
    </section>
  )
}

const testName = (t: { suite?: string; class?: string; name: string }) => [t.class || t.suite, t.name].filter(Boolean).join('.')

function Tests({ h }: { h: History }) {
  const t = h.tests
  if (!t) {
    return (
      <section class="card teach">
        <h2>Tests</h2>
        <p>No module of it leaves test results. Name their JUnit files, and failures, flaky tests and the slowest are shown here:</p>
        <Command text={'reports {\n  junit = ["**/*.xml"]\n}'} />
      </section>
    )
  }
  const lists: [string, TestHistory[], string][] = [
    ['Flaky', t.flaky, 'odd'],
    ['Failing', t.failed, 'bad'],
  ]
  return (
    <section class="card" aria-label="Tests">
      <h2 class="cardh">
        Tests <small>{`${count(t.newest.total, 'test')} in the newest run; over the last ${count(t.runs, 'run')} with tests`}</small>
      </h2>
      {t.flaky.length + t.failed.length + t.slowest.length === 0 ? (
        <p class="none">No test failed.</p>
      ) : (
        <Table heads={['Test', 'Module', 'What', 'Last']}>
          {lists.flatMap(([word, list, kind]) =>
            list.slice(0, 20).map((x) => (
              <tr key={word + x.module + testName(x)}>
                <th scope="row" class="reason">
                  {testName(x)}
                  {x.last.message && <small class="clip">{x.last.message}</small>}
                </th>
                <td data-label="Module">{x.module}</td>
                <td data-label="What" class={'s-' + kind}>
                  {word}
                  <small>{`${x.times} of ${count(x.runs, 'run')}, ${percent(x.rate)}`}</small>
                </td>
                <td data-label="Last">
                  <a href={runLink(x.last.number, x.module, x.last.attempt)}>run {x.last.number}</a>
                </td>
              </tr>
            )),
          )}
          {t.slowest.slice(0, 10).map((x) => (
            <tr key={'slow' + x.module + testName(x)}>
              <th scope="row" class="reason">
                {testName(x)}
              </th>
              <td data-label="Module">{x.module}</td>
              <td data-label="What">
                Slow
                <small>{duration(x.seconds)}</small>
              </td>
              <td data-label="Last">
                <a href={runLink(x.number, x.module)}>run {x.number}</a>
              </td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  )
}
