// The tests of a run, out of the JUnit files that its modules left.
import { signal } from '@preact/signals'
import { count, duration } from './format'
import { Icon, Shape, type Kind } from './icons'
import { chosenModule } from './modules'
import { Bar, Blank, Choice, Command } from './parts'
import { go, place, withQuery } from './route'
import { runPath } from './run'
import { ref } from './store'
import { Only, useAnswer } from './tabs'
import type { RunSummary } from './types'

interface Counts { total: number; passed: number; failed: number; skipped: number; flaky: number; seconds: number }
interface Case {
  module: string
  attempt: number
  suite?: string
  class?: string
  name: string
  file?: string
  line?: number
  state: 'failed' | 'skipped' | 'passed'
  flaky?: boolean
  failedAttempt?: number
  seconds?: number
  type?: string
  message?: string
  text?: string
  stdout?: string
}
interface Tests {
  total: Counts
  modules: { module: string; counts: Counts; warnings?: string[]; cut?: boolean; gone?: string }[]
  cases: Case[]
  matching: number
}

const tests = signal<Tests | null>(null)

const states = ['', 'failed', 'flaky', 'passed', 'skipped'] as const

function kindOf(c: Case): [Kind, string] {
  if (c.state === 'failed') return ['bad', 'failed']
  if (c.flaky) return ['odd', 'flaky']
  return c.state === 'skipped' ? ['skip', 'skipped'] : ['ok', 'passed']
}

function Row({ r, c }: { r: RunSummary; c: Case }) {
  const [kind, word] = kindOf(c)
  const more = c.text || c.stdout
  return (
    <li>
      <Shape kind={kind} />
      <div>
        <b>{c.name}</b> <small>{[c.class && c.class !== c.suite ? c.class : '', c.suite].filter(Boolean).join(', ')}</small>
        <span class="sr">, {word}</span>
        {c.message && <p>{c.message}</p>}
        {more && (
          <details>
            <summary>What it said</summary>
            <pre class="mono" tabIndex={0}>
              {[c.text, c.stdout].filter(Boolean).join('\n')}
            </pre>
          </details>
        )}
      </div>
      <span class="grow" />
      <small class="of">
        <a href={withQuery({ m: c.module, a: String(c.failedAttempt ?? c.attempt), find: c.name, state: null, q: null }, `/runs/${ref(r)}/log`)}>{c.module}</a>
        {c.flaky && `, failed in attempt ${c.failedAttempt}`}
        {c.file && `, ${c.file}${c.line ? ':' + c.line : ''}`}
      </small>
      <span class="t">{c.seconds !== undefined && duration(c.seconds)}</span>
    </li>
  )
}

export function TestsTab({ r }: { r: RunSummary }) {
  const m = chosenModule.value
  const query = place.value.query
  const [state, search] = [query.get('state') ?? '', query.get('q') ?? '']
  const limit = Number(query.get('limit')) || 200
  const asked = new URLSearchParams({ ...(m && { module: m }), ...(state && { state }), ...(search && { search }), limit: String(limit) })
  useAnswer(`${runPath(r)}/tests?${asked}`, tests, (a: Tests) => a)
  const t = tests.value
  const total = t?.total
  return (
    <div class="scroll">
      <section class="card" aria-label="Tests">
        <div class="cardh">
          <h2>Tests</h2>
          <small>{total ? `${count(total.total, 'test')} in ${duration(total.seconds)}` : ''}</small>
          <Only m={m} />
          <span class="grow" />
          <label class="find small">
            <Icon name="search" />
            <span class="sr">Find a test</span>
            <input type="search" id="find" placeholder="Find" value={search} onInput={(e) => go(withQuery({ q: e.currentTarget.value }), true)} />
          </label>
        </div>
        {total && total.total > 0 && (
          <div class="prog tests">
            <Bar parts={[['ok', total.passed - total.flaky], ['odd', total.flaky], ['bad', total.failed], ['skip', total.skipped]]} total={total.total} label={`${total.passed} passed, ${total.flaky} of them flaky, ${total.failed} failed, ${total.skipped} skipped`} />
            <Choice label="Which tests" name="state" list={states.map((s) => [s, s ? `${s} ${total[s]}` : 'all'])} chosen={state} />
          </div>
        )}
        {t?.modules.map((x) => [...(x.warnings ?? []), ...(x.gone ? [x.gone] : []), ...(x.cut ? ['There are more tests than are kept.'] : [])].map((w) => (
          <p key={x.module + w} class="warning">
            {x.module}: {w}
          </p>
        )))}
        {!t ? (
          <Blank title="Asking the cluster" />
        ) : t.cases.length > 0 ? (
          <ul class="why cases">
            {t.cases.map((c, i) => (
              <Row key={i} r={r} c={c} />
            ))}
          </ul>
        ) : (
          <Blank title={total!.total > 0 ? 'No test matches' : 'No tests'}>
            {total!.total === 0 && (
              <>
                <p>The tests of a module are shown here if it names the JUnit files that it writes:</p>
                <Command text={'reports { junit = ["**/*.xml"] }'} />
              </>
            )}
          </Blank>
        )}
        {t && t.matching > t.cases.length && limit < 2000 && (
          <p class="foot">
            <a class="btn" href={withQuery({ limit: String(Math.min(2000, limit * 4)) })}>
              {`Show more of ${t.matching.toLocaleString('en')}`}
            </a>
          </p>
        )}
      </section>
    </div>
  )
}
