// One module of a run: its attempts, why it is in its state, what can be done
// with it, and its output.
import { Decide, deciders } from './approvals'
import { dateTime, duration, seconds } from './format'
import { Icon, Shape, ofAttempt, ofRun, wasLost } from './icons'
import { LogPane, type LogKeys } from './logpane'
import { asks, elapsed, kindOf, line } from './modules'
import { Act, Blank, cli } from './parts'
import { place, segments, withQuery } from './route'
import { retry, runPath } from './run'
import { final, may, modules, moduleOrder, ref } from './store'
import type { Attempt, Module, RunSummary } from './types'
import { approvals } from './waitingfor'

function Attempts({ m, chosen }: { m: Module; chosen: number }) {
  if (m.attempts.length < 2) return null
  return (
    <span class="attempts" role="group" aria-label="Attempts">
      {m.attempts.map((a) => (
        <a key={a.number} class="chip" href={withQuery({ a: String(a.number) })} aria-current={a.number === chosen ? 'true' : undefined} title={`${a.worker}: ${a.reason || ofAttempt(a.state)[1]}`}>
          <Shape kind={ofAttempt(a.state)[0]} />
          {a.number}
          <span class="sr"> {ofAttempt(a.state)[1]}</span>
          {wasLost(a.state) && <span aria-hidden="true">lost</span>}
        </a>
      ))}
      <Compare m={m} chosen={chosen} />
    </span>
  )
}

const beside = () => Number(place.value.query.get('with')) || 0

// Compare shows the output of the attempt before beside that of the chosen one.
function Compare({ m, chosen }: { m: Module; chosen: number }) {
  const other = m.attempts.filter((a) => a.number < chosen).at(-1) ?? m.attempts.find((a) => a.number > chosen)
  if (beside()) {
    return (
      <a class="chip" aria-current="true" href={withQuery({ with: null })}>
        Side by side
      </a>
    )
  }
  return (
    <a class="chip hide-s" href={withQuery({ m: m.name, a: String(chosen), with: String(other!.number) }, `/runs/${encodeURIComponent(segments.value[1])}/log`)}>
      Side by side
    </a>
  )
}

// sentence says where an attempt ran and what became of it.
function sentence(m: Module, a: Attempt | undefined): string {
  if (!a) return line(m)
  const parts = []
  if (a.state === 'assigned') parts.push(`Starts on ${a.worker}.`)
  else if (a.state === 'running') parts.push(`Runs on ${a.worker}.`)
  else if (a.worker) parts.push(`Ran on ${a.worker}${a.startedAt && a.finishedAt ? ` for ${duration(seconds(a.finishedAt) - seconds(a.startedAt))}` : ''}.`)
  if (a.image) parts.push(`Its image was ${a.image.slice(0, 19)}.`)
  if (a.exitCode && !a.reason.includes('exit code')) parts.push(`Exit code ${a.exitCode}.`)
  if (a.reason) parts.push(a.reason.replace(/\.?$/, '.').replace(/^./, (c) => c.toUpperCase()))
  const before = m.attempts.filter((b) => b.number < a.number && wasLost(b.state)).at(-1)
  if (before) parts.push(`Attempt ${before.number} was lost with ${before.worker}.`)
  return parts.join(' ')
}

// Children are the runs that a module made of its pipeline, the newest first.
function Children({ m }: { m: Module }) {
  return (
    <ul class="children">
      {[...m.children!].reverse().map((c) => (
        <li key={c.run}>
          <Shape kind={ofRun(c.state)[0]} />
          <a href={'/runs/' + c.number}>
            {m.pipeline} {c.number}
          </a>{' '}
          <small>{[ofRun(c.state)[1], c.reason].filter(Boolean).join(': ')}</small>
        </li>
      ))}
    </ul>
  )
}

// Approval is the question of a module, and the decision if it waits for one.
function Approval({ r, m }: { r: RunSummary; m: Module }) {
  const a = m.approval!
  const waits = approvals.value?.find((x) => x.run === r.id && x.module === m.name)
  return (
    <div class="approval">
      <p>
        {a.message && <b>{a.message}</b>}
        <small>
          {deciders(a.approvers)}
          {a.deadline ? `, until ${dateTime(a.deadline)}` : ''}
        </small>
      </p>
      {waits && <Decide a={waits} />}
    </div>
  )
}

function Beside({ r, m, a }: { r: RunSummary; m: Module; a: Attempt }) {
  return (
    <section aria-label={`Attempt ${a.number}`}>
      <h3>
        <Shape kind={ofAttempt(a.state)[0]} />
        Attempt {a.number} <small>{[ofAttempt(a.state)[1], a.worker].filter(Boolean).join(', ')}</small>
      </h3>
      <LogPane run={r.id} module={m.name} attempt={a.number} start={seconds(a.startedAt ?? a.assignedAt)} command={cli('logs', ref(r), m.name, '-attempt', String(a.number))} keys={{ current: null }} empty="It has written nothing yet." beside />
    </section>
  )
}

export function ModulePane({ r, name, keys }: { r: RunSummary; name: string; keys: { current: LogKeys | null } }) {
  const m = modules.get(name)?.value
  moduleOrder.value
  if (!m) {
    return (
      <section class="card pane" aria-label="Module">
        <Blank title={`This run has no module ${name}`}>
          <p>
            <a href={withQuery({ m: null, a: null })}>Show the output of all modules</a>
          </p>
        </Blank>
      </section>
    )
  }

  const given = Number(place.value.query.get('a')) || 0
  const newest = m.attempts.at(-1)
  const a = m.attempts.find((x) => x.number === given) ?? newest
  const [kind, word] = kindOf(m)
  const older = a && newest && a.number < newest.number ? a.number : undefined
  const other = m.attempts.find((x) => x.number === beside() && x !== a)
  const command = cli('logs', ref(r), name, ...(older ? ['-attempt', String(older)] : m.state === 'running' ? ['-f'] : []))
  return (
    <section class="card pane" aria-label={`Module ${name}`}>
      <div class="cardh">
        <Shape kind={kind} />
        <h2>
          {name}
          <span class="sr">, {word}</span>
        </h2>
        <Attempts m={m} chosen={a?.number ?? 0} />
        <span class="grow" />
        <small>{elapsed(m) >= 0 ? duration(elapsed(m)) : ''}</small>
        {may('submit') && final(r.state) && m.state !== 'skipped' && (
          <Act onClick={() => retry(r, name)}>
            <Icon name="retry" />
            <span class="hide-s">Retry from here</span>
            <span class="sr only-s">Retry from here</span>
          </Act>
        )}
        <a class="btn icon ghost" href={withQuery({ m: null, a: null, with: null, find: null })} aria-label="Close: show the output of all modules">
          <Icon name="close" />
        </a>
      </div>
      <p class="because">
        <span>{asks(m) ? 'Waits for an approval.' : sentence(m, a)}</span>
        <a href={withQuery({ m: name }, `/runs/${ref(r)}/why`)}>why</a>
      </p>
      {asks(m) && <Approval r={r} m={m} />}
      {a && other ? (
        <div class="beside">
          {[other, a].map((x) => (
            <Beside key={x.number} r={r} m={m} a={x} />
          ))}
        </div>
      ) : a ? (
        <LogPane key={`${r.id} ${name} ${older ?? ''}`} run={r.id} module={name} attempt={older} start={seconds(a.startedAt ?? a.assignedAt)} command={command} keys={keys} empty="It has written nothing yet." />
      ) : (
        <Blank title={m.children ? `It runs the pipeline ${m.pipeline}` : m.state === 'cached' ? 'Its result was cached' : m.state === 'waiting' ? 'It has not started' : 'It ran nothing'}>
          {m.children && <Children m={m} />}
          {m.cachedFrom && (
            <p>
              Module {m.cachedFrom.module} of <a href={'/runs/' + m.cachedFrom.run}>run {m.cachedFrom.run.slice(0, 8)}</a> made it, attempt {m.cachedFrom.attempt} on {m.cachedFrom.worker}.
            </p>
          )}
        </Blank>
      )}
    </section>
  )
}
