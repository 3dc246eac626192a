// Which node reaches which, how far followers are behind, and what waits.
import { signal } from '@preact/signals'
import { json } from './api'
import { coarse, count, modulesWait, roundTrip, seconds } from './format'
import { Shape, type Kind } from './icons'
import { Table, every } from './parts'
import { noteCommits } from './samples'
import { nodeLink, runLink } from './route'
import { health, members, now, raft, ref, runs } from './store'
import type { Member, NodeReport, NodeReports, Sight, WaitingList } from './types'

const reports = signal<NodeReports | null>(null)
const waiting = signal<WaitingList | null>(null)

export const reportOf = (name: string): NodeReport | undefined => reports.value?.nodes.find((n) => n.name === name)

// leading is what the leader reports; undefined if there is none, or it did not.
export const leading = (): NodeReport | undefined => reports.value?.nodes.find((n) => n.name === health.value?.leader && !n.missing)
// blobBytes is what the blobs of all nodes take, every copy of them.
export const blobBytes = () => reports.value?.nodes.reduce((n, r) => n + (r.disk?.blobBytes ?? 0), 0) ?? 0
export const allReports = () => reports.value?.nodes ?? []

// useReports asks what each node reports of itself and of the others.
export function useReports() {
  every(3000, () =>
    json<NodeReports>('/api/v1/nodes').then((a) => {
      reports.value = a
      noteCommits(leading()?.commits)
    }),
  )
}

// useWaiting asks for what waits.
export const useWaiting = () => every(3000, () => json<WaitingList>('/api/v1/waiting').then((a) => (waiting.value = a)))

export const dependencies = () => waiting.value?.modules.dependency ?? 0
export const waits = () => Object.entries(waiting.value?.modules ?? {}).reduce((n, [kind, k]) => n + (kind === 'dependency' ? 0 : k), 0)

const sightKinds: Record<string, Kind> = { alive: 'ok', new: 'wait', failed: 'bad' }

// sightWords are how a node looks to another one, the word for it (of a node that
// answers, its round trip in ms), and whether it is heard although it does not answer.
export function sightWords(s: Sight): [Kind, string, boolean] {
  const alive = s.status === 'alive'
  return [sightKinds[s.status] ?? 'odd', alive ? roundTrip(s.roundTripSeconds ?? 0) : s.status, !!s.hears && !alive && s.status !== 'new']
}

function Cell({ from, to, sight }: { from: NodeReport; to: string; sight?: Sight }) {
  if (from.name === to) return <td class="self" aria-label="itself" />
  if (from.missing) return <td class="s-wait" title={`${from.name}: ${from.missing}`}>no report</td>
  if (!sight) return <td class="s-wait" title={`${from.name} does not know ${to}`}>none</td>
  const [kind, word, heard] = sightWords(sight)
  return (
    <td class={'s-' + kind} title={kind === 'ok' ? `${from.name} reaches ${to}` : `${from.name}: ${to} is ${word}${heard ? ', but is heard' : ''}`}>
      {word}
      {heard && <small>heard</small>}
    </td>
  )
}

// Sights is who sees whom: a row for each viewer.
export function Sights() {
  const r = reports.value
  if (!r || r.nodes.length < 2) return null
  const few = r.nodes.length <= 12
  const shown = few ? r.nodes : r.nodes.filter((n) => n.missing || n.sees?.some((s) => s.status !== 'alive'))
  return (
    <section class="card sights" aria-label="Who sees whom">
      <h2 class="cardh">
        Who sees whom <small>{few ? 'round trips in ms, a row for each viewer' : 'rows of nodes that miss another one'}</small>
      </h2>
      {shown.length > 0 && (
        <div class="wide">
          <table>
            <thead>
              <tr>
                <th scope="col">
                  <span class="sr">Viewer</span>
                </th>
                {r.nodes.map((n) => (
                  <th key={n.id} scope="col" title={n.name}>
                    {n.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {shown.map((from) => (
                <tr key={from.id}>
                  <th scope="row">
                    <a href={nodeLink(from.name)}>{from.name}</a>
                  </th>
                  {r.nodes.map((to) => (
                    <Cell key={to.id} from={from} to={to.name} sight={from.sees?.find((s) => s.node === to.name)} />
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <ul class="findings">
        {r.findings.map((text) => (
          <li key={text}>
            <Shape kind="odd" />
            <span>{text}.</span>
          </li>
        ))}
        {r.findings.length === 0 && (
          <li>
            <Shape kind={r.nodes.some((n) => n.missing) ? 'wait' : 'ok'} />
            <span>{r.nodes.some((n) => n.missing) ? `${r.nodes.filter((n) => n.missing).map((n) => n.missing!.replace(/^it /, n.name + ' ')).join('; ')}. All others reach each other.` : 'Every node reaches every other one.'}</span>
          </li>
        )}
      </ul>
    </section>
  )
}

export function lagText(n: number): string {
  return n === 0 ? 'up to date' : `${n.toLocaleString('en')} behind`
}

// Consensus draws the leader with those that follow it.
export function Consensus() {
  const [h, r] = [health.value, raft.value]
  const servers = r?.servers ?? []
  if (!h || servers.length < 2) return null
  const others = servers.filter((s) => s.name !== h.leader)
  const voters = servers.filter((s) => s.suffrage === 'voter')
  const majority = Math.floor(voters.length / 2) + 1
  const status = new Map((members.value?.members ?? []).map((m): [string, Member] => [m.name, m]))
  const behind = others.filter((s) => (reportOf(s.name)?.lag ?? 0) > 0).map((s) => s.name)
  const gone = others.filter((s) => status.get(s.name)?.status !== 'alive').map((s) => s.name)
  return (
    <section class="card consensus" aria-label="Consensus">
      <h2 class="cardh">
        Consensus <small>{h.leader ? `${h.leader} replicates, term ${h.term}` : 'no leader'}</small>
      </h2>
      <Star leader={h.leader} others={others.map((s): Point => point(s.name, s.suffrage, status.get(s.name)?.status ?? 'unknown'))} />
      <p class="foot">
        A majority is <b>{`${majority} of ${voters.length}`}</b>.{' '}
        {[gone.length ? `${list(gone)} ${gone.length === 1 ? 'does' : 'do'} not answer` : '', behind.length ? `${list(behind)} ${behind.length === 1 ? 'is' : 'are'} behind` : ''].filter(Boolean).join('; ') || 'All have all entries'}.
      </p>
    </section>
  )
}

const list = (names: string[]) => (names.length < 2 ? names.join('') : names.slice(0, -1).join(', ') + ' and ' + names.at(-1))

interface Point { name: string; kind: Kind; note: string }

function point(name: string, suffrage: string, status: string): Point {
  if (status !== 'alive') return { name, kind: status === 'away' ? 'wait' : 'bad', note: status }
  const lag = reportOf(name)?.lag
  if (lag === undefined) return { name, kind: 'ok', note: suffrage }
  return { name, kind: lag > 0 ? 'odd' : 'ok', note: lagText(lag) }
}

const cut = (name: string) => (name.length > 14 ? name.slice(0, 13) + '…' : name)

function Star({ leader, others }: { leader: string; others: Point[] }) {
  const [w, h] = [300, 190]
  const [cx, cy] = [w / 2, others.length > 2 ? h / 2 - 6 : 48]
  const at = others.slice(0, 8).map((o, i, all) => {
    const a = all.length === 1 ? Math.PI / 2 : all.length === 2 ? (i ? Math.PI * 0.22 : Math.PI * 0.78) : (2 * Math.PI * i) / all.length - Math.PI * 0.9
    return { ...o, x: cx + Math.cos(a) * 104, y: cy + Math.sin(a) * (all.length <= 2 ? 84 : 62) }
  })
  return (
    <svg class="star" viewBox={`0 0 ${w} ${h}`} role="img" aria-label={`${leader || 'No node'} leads; ${others.map((o) => `${o.name}: ${o.note}`).join(', ')}`}>
      {leader && at.map((o) => <line key={o.name} x1={cx} y1={cy} x2={o.x} y2={o.y} class={'l-' + o.kind} />)}
      {at.map((o) => (
        <g key={o.name} class={'p-' + o.kind}>
          <circle cx={o.x} cy={o.y} r="15" />
          <text x={o.x} y={o.y + 4}>{o.name.slice(0, 1).toUpperCase()}</text>
          <text x={o.x} y={o.y + 29} class="nm">{cut(o.name)}</text>
          <text x={o.x} y={o.y + 42} class="nt2">{o.note}</text>
        </g>
      ))}
      {leader && (
        <g class="p-lead">
          <circle cx={cx} cy={cy} r="20" />
          <path d={`M${cx - 7} ${cy - 24} v-8 l4 4 3 -6 3 6 4 -4 v8z`} />
          <text x={cx} y={cy + 4}>{leader.slice(0, 1).toUpperCase()}</text>
          <text x={cx} y={cy + 35} class="nm">{cut(leader)}</text>
        </g>
      )}
    </svg>
  )
}

const kinds: Record<string, string> = {
  lock: 'for a lock', slots: 'for a slot', resources: 'for resources', tags: 'for a worker that fits', approval: 'for an approval', backoff: 'to be tried again',
  group: 'for another run', limit: 'at the limit of the run', cache: 'for the cache', expression: 'for expressions', turn: 'for their turn',
}

// named puts the names of runs in the place of their ids.
const named = (reason: string) =>
  reason.replace(/^waits for /, '').replace(/\b(run )?([0-9a-f]{32})\b/g, (whole, _, id) => {
    const r = runs.get(id)?.value
    return r ? `${r.pipeline} ${ref(r)}` : whole.slice(0, whole.length - 24)
  })

// Waits is what waits in all runs, and for what.
export function Waits() {
  const w = waiting.value
  if (!w) return null
  const total = waits()
  const byKind = Object.entries(w.modules).filter(([kind, n]) => n > 0 && kind !== 'dependency').sort((a, b) => b[1] - a[1])
  return (
    <section class="card" aria-label="What waits, and for what">
      <h2 class="cardh">
        What waits, and for what <small>{byKind.length ? byKind.map(([kind, n]) => `${n} ${kinds[kind] ?? kind}`).join(', ') : ''}</small>
      </h2>
      {w.waiting.length === 0 ? (
        <p class="none">{dependencies() ? `${modulesWait(dependencies())} for other modules of the same run, and nothing else waits.` : 'Nothing waits.'}</p>
      ) : (
        <Table heads={['Module', 'Run', 'Waits for', 'Since']}>
          {w.waiting.slice(0, 30).map((x) => (
            <tr key={x.run + x.reason}>
              <th scope="row" class="clip">
                {x.modules.length ? <a href={runLink(x.number, x.modules[0])}>{x.modules[0]}</a> : count(x.count, 'module')}
                {x.modules.length > 0 && x.count > 1 && <small>{`and ${x.count - 1} more`}</small>}
              </th>
              <td data-label="Run">
                <a href={runLink(x.number)}>
                  {x.pipeline} {x.number}
                </a>
              </td>
              <td data-label="Waits for" class="reason">
                {named(x.reason)}
              </td>
              <td data-label="Since">{coarse(now.value - seconds(x.since))}</td>
            </tr>
          ))}
        </Table>
      )}
      {(w.waiting.length > 30 || (w.waiting.length > 0 && dependencies() > 0)) && (
        <p class="foot">
          {[w.waiting.length > 30 ? `The 30 that have waited longest of ${count(total, 'module')}` : '', dependencies() ? `${modulesWait(dependencies(), 'more module')} for other modules of the same run` : ''].filter(Boolean).join('; ')}.
        </p>
      )}
    </section>
  )
}
