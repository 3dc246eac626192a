// Two runs side by side: what was different, module by module.
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { Refused, json } from './api'
import { count, duration } from './format'
import { Shape, ofModule, ofRun } from './icons'
import { Table } from './parts'
import { go, place, runLink, withQuery } from './route'
import { took } from './store'
import type { RunPoint } from './pipelines'
import type { ModuleState, RunSummary } from './types'

interface Side { state: ModuleState; seconds?: number; worker?: string; attempts: number; exitCode?: number; reason?: string }
interface Comparison { a: RunSummary; b: RunSummary; different: string[]; modules: { name: string; a?: Side; b?: Side; different: string[] }[] }

const comparison = signal<Comparison | null>(null)
const refused = signal('')

function Choose({ label, name, list, value }: { label: string; name: string; list: RunPoint[]; value: string }) {
  return (
    <label class="choose">
      {label}
      <select value={value} onChange={(e) => go(withQuery({ [name]: e.currentTarget.value }), true)}>
        {!list.some((r) => String(r.number) === value) && <option value={value}>{value || 'choose a run'}</option>}
        {list.map((r) => (
          <option key={r.id} value={String(r.number)}>
            {`${r.number}, ${ofRun(r.state)[1].toLowerCase()}${r.seconds !== undefined ? ', ' + duration(r.seconds) : ''}`}
          </option>
        ))}
      </select>
    </label>
  )
}

// sides are the runs that the address compares: the second one is the newest if it names
// none.
export function sides(q: URLSearchParams, list: RunPoint[]): [string, string] {
  const newest = list.find((r) => r.finishedAt)
  return [q.get('a') ?? '', q.get('b') ?? (newest ? String(newest.number) : '')]
}

// comparePath is the call that compares two runs.
export const comparePath = (a: string, b: string) => `/api/v1/runs/${encodeURIComponent(b)}/compare?with=${encodeURIComponent(a)}`

const text = (s?: Side) =>
  s ? (
    <span>
      <Shape kind={ofModule(s.state)[0]} /> {s.seconds !== undefined ? duration(s.seconds) : ofModule(s.state)[1]}
      <small>{[s.worker, s.attempts > 1 ? `${s.attempts} attempts` : '', s.exitCode ? `exit code ${s.exitCode}` : ''].filter(Boolean).join(', ')}</small>
    </span>
  ) : (
    <span class="muted">not in it</span>
  )

export function Compare({ list }: { list: RunPoint[] }) {
  const q = place.value.query
  const ended = list.filter((r) => r.finishedAt)
  const [a, b] = sides(q, list)
  const wanted = !!a && !!b && a !== b
  useEffect(() => {
    comparison.value = null
    refused.value = ''
    if (!wanted) return
    const stop = new AbortController()
    json<Comparison>(comparePath(a, b), { signal: stop.signal })
      .then((c) => (comparison.value = c))
      .catch((e) => stop.signal.aborted || (refused.value = e instanceof Refused ? e.message : 'No node answers.'))
    return () => stop.abort()
  }, [a, b])
  if (ended.length < 2) return null
  const c = wanted ? comparison.value : null
  const rows = c?.modules.filter((m) => m.different.length > 0) ?? []
  return (
    <section class="card" aria-label="Comparison of two runs">
      <div class="cardh wrap">
        <h2>Compare</h2>
        <Choose label="run" name="a" list={ended} value={a} />
        <Choose label="with" name="b" list={ended} value={b} />
        <span class="grow" />
        {wanted && (
          <a class="btn" href={withQuery({ a: null, b: null })}>
            Close
          </a>
        )}
      </div>
      {!wanted ? (
        <p class="none">{a && a === b ? 'Choose two different runs.' : 'Choose another run to see what was different.'}</p>
      ) : refused.value ? (
        <p class="none s-bad">{refused.value}</p>
      ) : !c ? (
        <p class="none">Asking the cluster</p>
      ) : (
        <>
          <ul class="differences">
            <li>
              <a href={runLink(c.a.number)}>Run {c.a.number}</a> {ofRun(c.a.state)[1].toLowerCase()} in {duration(took(c.a))}, <a href={runLink(c.b.number)}>run {c.b.number}</a> {ofRun(c.b.state)[1].toLowerCase()} in {duration(took(c.b))}.
            </li>
            {c.different.map((d) => (
              <li key={d}>{d}</li>
            ))}
          </ul>
          {rows.length === 0 ? (
            <p class="none">No module was different: definition, state, and where its result came from.</p>
          ) : (
            <Table heads={['Module', `Run ${c.a.number}`, `Run ${c.b.number}`, 'Different']}>
              {rows.map((m) => (
                <tr key={m.name}>
                  <th scope="row" class="clip" title={m.name}>
                    {m.name}
                  </th>
                  <td data-label={`Run ${c.a.number}`}>{text(m.a)}</td>
                  <td data-label={`Run ${c.b.number}`}>{text(m.b)}</td>
                  <td data-label="Different" class="reason">
                    {m.different.map((d) => (
                      <div key={d}>{d}</div>
                    ))}
                  </td>
                </tr>
              ))}
            </Table>
          )}
          {rows.length > 0 && rows.length < c.modules.length && <p class="foot">The same: {count(c.modules.length - rows.length, 'module')}.</p>}
        </>
      )}
    </section>
  )
}
