// Beside the list of runs: approvals, pipelines by their newest runs, and schedules.
import { signal } from '@preact/signals'
import { json } from './api'
import { Decide } from './approvals'
import { coarse, count, duration, seconds } from './format'
import { every, times } from './parts'
import { pipelineLink, place, runLink, withQuery } from './route'
import { all, usuals } from './runs'
import { final, now, took } from './store'
import { Trend } from './trend'
import type { Schedule } from './types'
import { mine } from './waitingfor'

export function Beside() {
  const names = [...new Set(all.value.map((r) => r.pipeline))]
  if (names.length === 0) return null
  const first = place.value.query.get('pipeline') ?? all.value.find((r) => final(r.state))?.pipeline ?? names[0]
  const ended = all.value.filter((r) => r.pipeline === first && final(r.state)).slice(0, 20)
  return (
    <aside class="side" aria-label="Approvals, pipelines and schedules">
      <ForYou />
      <section class="card">
        <h2 class="cardh">
          <a href={pipelineLink(first)}>{first}</a> <small>{ended.length ? `last ${count(ended.length, 'run')}` : 'no run has ended'}</small>
        </h2>
        {ended.length > 0 && <Trend list={ended.map((r) => ({ ...r, seconds: took(r) }))} of={first} />}
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

// ForYou are the oldest approvals that wait for the person at this page.
function ForYou() {
  const list = mine.value
  if (list.length === 0) return null
  return (
    <section class="card foryou">
      <h2 class="cardh">
        Waits for you <small>{list.length > 1 ? list.length : ''}</small>
      </h2>
      {list.slice(0, 2).map((a) => (
        <div key={a.run + a.module}>
          <p>
            <a href={runLink(a.number, a.module)}>
              {a.pipeline} {a.number}
            </a>
            , {a.module}: “{a.message}” {a.submitter && `asked by ${a.submitter}, `}
            {coarse(now.value - seconds(a.since))} ago
          </p>
          <Decide a={a} />
        </div>
      ))}
      {list.length > 2 && (
        <p class="foot">
          <a href="/approvals">{list.length - 2} more</a>
        </p>
      )}
    </section>
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
                {times(s.next!, s.timezone)}
              </small>
              <small />
            </a>
          </li>
        ))}
      </ul>
    </section>
  )
}
