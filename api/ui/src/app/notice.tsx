// What should be known about a run before all else.
import { count } from './format'
import { wasLost } from './icons'
import { asks, leaves } from './modules'
import { withQuery } from './route'
import { final } from './store'
import type { Module, RunSummary } from './types'

// Notice tells of what a person has to decide, then of what failed; if there is neither,
// of what was lost.
export function Notice({ r }: { r: RunSummary }) {
  const list = leaves.value
  const failed = list.filter((m) => m.state === 'failed')
  const waiting = final(r.state) ? [] : list.filter(asks)
  const lost = list.flatMap((m) => m.attempts.filter((a) => wasLost(a.state)).map((a): [string, string] => [m.name, a.worker]))
  if (waiting.length > 0 || failed.length > 0) {
    return (
      <>
        {waiting.length > 0 && <Waiting list={waiting} />}
        {failed.length > 0 && <Failed list={failed} />}
      </>
    )
  }
  if (lost.length > 0) return <Lost list={lost} />
  return r.reason ? (
    <p class="notice s-wait">
      <span>{r.reason}</span>
    </p>
  ) : null
}

function Waiting({ list }: { list: Module[] }) {
  const first = list[0]
  return (
    <p class="notice s-odd">
      <b>{list.length === 1 ? `${first.name} needs an approval` : `${list.length} modules need an approval, first ${first.name}`}</b>
      <span>{first.approval!.message}</span>
      <a href={withQuery({ m: first.name, a: null })}>decide</a>
    </p>
  )
}

function Failed({ list }: { list: Module[] }) {
  const first = list[0]
  return (
    <p class="notice s-bad">
      <b>{list.length === 1 ? `${first.name} failed` : `${list.length} modules failed, first ${first.name}`}</b>
      <span>{first.reason || (first.exitCode !== null ? `exit code ${first.exitCode}` : '')}</span>
      <a href={withQuery({ m: first.name, a: null })}>its output</a>
    </p>
  )
}

function Lost({ list }: { list: [string, string][] }) {
  const workers = [...new Set(list.map(([, w]) => w))].join(', ')
  return (
    <p class="notice s-odd">
      <b>{`${workers} was lost`}</b>
      <span>{`${count(list.length, 'attempt')} repeated elsewhere: ${[...new Set(list.map(([m]) => m))].slice(0, 4).join(', ')}`}</span>
      <a href={withQuery({ m: list[0][0], a: null })}>{list[0][0]}</a>
    </p>
  )
}
