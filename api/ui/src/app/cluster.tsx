// The cluster: its nodes, who leads, who may vote, what each runs, who sees whom,
// and what waits.
import { signal } from '@preact/signals'
import { json } from './api'
import { Commits, Load, ms } from './charts'
import { Events, lastTakeover, takeovers, useEvents } from './events'
import { bytes, coarse, count, modulesWait, revision, seconds } from './format'
import { Icon, Shape, type Kind } from './icons'
import { Act, Blank, Choice, CopyAs, Figure, Pill, Table, cli, curl, every, offer, save } from './parts'
import { nodeLink, place } from './route'
import { commits } from './samples'
import { Top, show } from './shell'
import { final, health, may, members, now, order, raft, ref, runs } from './store'
import { Consensus, Sights, Waits, blobBytes, dependencies, lagText, leading, reportOf, useReports, useWaiting, waits } from './sights'
import type { Member, WorkerNode } from './types'

export const workers = signal<WorkerNode[]>([])

export const useWorkers = () => every(3000, () => json<{ workers: WorkerNode[] }>('/api/workers?brief=1').then((a) => (workers.value = a.workers)))

export const stateOf = (m: Member): [Kind, string] => {
  switch (m.status) {
    case 'alive':
      return m.draining ? ['odd', 'draining'] : ['ok', 'alive']
    case 'suspect':
      return ['odd', 'suspected']
    case 'away':
      return ['wait', 'away']
    case 'left':
      return ['skip', 'left']
  }
  return ['bad', m.status]
}

export function Slots({ used, all }: { used: number; all: number }) {
  return (
    <span class="slots">
      {all <= 32 && (
        <span class="cells" style={{ gridTemplateColumns: `repeat(${Math.min(8, Math.max(1, all))}, 9px)` }} aria-hidden="true">
          {Array.from({ length: all }, (_, i) => (
            <i key={i} class={i < used ? 'run' : 'free'} />
          ))}
        </span>
      )}
      {used} of {all}
    </span>
  )
}

export function Meter({ name, used, all, unit }: { name: string; used: number; all: number; unit: (n: number) => string }) {
  if (!(all > 0)) return <span class="muted">{used > 0 ? `${name} ${unit(used)}` : `no ${name}`}</span>
  return (
    <span class="two">
      <span class="of">{name}</span>
      <span class="meter" aria-hidden="true">
        <i style={{ width: `${Math.min(100, (used / all) * 100)}%` }} />
      </span>
      {unit(used)} of {unit(all)}
    </span>
  )
}

// ahead says how far a clock is ahead or behind.
export const ahead = (seconds: number) => `${Math.abs(seconds).toFixed(0)}s ${seconds > 0 ? 'ahead' : 'behind'}`

// DrainButton is there for who may drain, if the node runs modules.
export function DrainButton({ m }: { m: Member }) {
  if (!may('admin') || m.mode === 'orchestrator' || m.status === 'left') return null
  return (
    <Act label={(m.draining ? 'End the draining of ' : 'Drain ') + m.name} onClick={() => drain(m)}>
      {m.draining ? 'End draining' : 'Drain'}
    </Act>
  )
}

function drain(m: Member) {
  const off = !!m.draining
  offer({
    title: off ? `End the draining of ${m.name}?` : `Drain ${m.name}?`,
    text: off ? 'It takes modules again.' : 'It takes no more modules; what runs there runs to its end.',
    button: off ? 'End draining' : 'Drain',
    cli: () => cli('drain', m.name, ...(off ? ['-off'] : [])),
    path: `/api/v1/members/${encodeURIComponent(m.name)}/drain`,
    body: () => (off ? { off: true } : {}),
    done: off ? `${m.name} takes modules again` : `${m.name} is draining`,
  })
}

function NodeRow({ m, most }: { m: Member; most: string }) {
  const [kind, word] = stateOf(m)
  const w = workers.value.find((x) => x.id === m.id || x.name === m.name)
  const server = raft.value?.servers.find((s) => s.id === m.id)
  const works = m.mode !== 'orchestrator'
  const report = reportOf(m.name)
  return (
    <tr>
      <th scope="row">
        <span class="node">
          <Shape kind={kind} />
          <span>
            <b>
              <a href={nodeLink(m.name)}>{m.name}</a>
            </b>
            <small>
              {m.addr}
              {report?.startedAt && `, up ${coarse(now.value - seconds(report.startedAt))}`}
            </small>
          </span>
        </span>
      </th>
      <td data-label="Role">
        <span class={'rl' + (m.role === 'leader' ? ' lead' : '')}>{m.role}</span>
        {m.draining && <span class="rl dr">draining</span>}
        <small>{[m.mode !== 'auto' && m.mode !== m.role ? m.mode : '', ...(w?.capabilities.tags ?? []), w?.capabilities.containerEngine].filter(Boolean).join(', ')}</small>
      </td>
      <td data-label="Gossip" class={'s-' + (kind === 'skip' ? 'wait' : kind)}>
        {word}
        {m.clockAheadSeconds ? <small class="s-odd">{`clock ${ahead(m.clockAheadSeconds)}`}</small> : null}
      </td>
      <td data-label="Last 15 min">{works && <Load name={m.name} slots={m.maxLoad} />}</td>
      <td data-label="Slots">{works ? <Slots used={m.currentLoad} all={m.maxLoad} /> : <span class="muted">runs no modules</span>}</td>
      <td data-label="Reserved">
        {w ? (
          <>
            <Meter used={w.reserved?.cpu ?? 0} all={w.capabilities.cpu ?? 0} unit={(n) => `${+n.toFixed(1)}`} name="cpu" />
            <Meter used={w.reserved?.memory ?? 0} all={w.capabilities.memory ?? 0} unit={bytes} name="mem" />
          </>
        ) : (
          <span class="muted">{works ? 'not known' : 'not a worker'}</span>
        )}
      </td>
      <td data-label="Raft">
        <Lag m={m} lag={report?.lag} vote={server?.suffrage} />
      </td>
      <td data-label="Disk">{report?.disk ? <Disk disk={report.disk} /> : <span class="muted">not known</span>}</td>
      <td data-label="Version" class={m.version && m.version !== most ? 's-odd' : ''} title={m.version}>
        {revision(m.version ?? '')}
      </td>
      <td class="act">
        <DrainButton m={m} />
      </td>
    </tr>
  )
}

export function Lag({ m, lag, vote }: { m: Member; lag?: number; vote?: string }) {
  if (!vote) return <span class="muted">no vote</span>
  if (m.role === 'leader') return <span>leads<small>{`index ${raft.value?.lastIndex.toLocaleString('en')}`}</small></span>
  return (
    <span class={lag ? 's-odd' : ''}>
      {lag === undefined || m.status !== 'alive' ? <span class="muted">not known</span> : lagText(lag)}
      <small>{vote}</small>
    </span>
  )
}

export function Disk({ disk }: { disk: { freeBytes: number; totalBytes: number; blobBytes?: number } }) {
  if (!disk.totalBytes) return <span class="muted">does not answer</span>
  const used = 1 - disk.freeBytes / disk.totalBytes
  const kind = used > 0.95 ? 'bad' : used > 0.9 ? 'odd' : ''
  return (
    <>
      <span class={'two' + (kind ? ' s-' + kind : '')}>
        <span class="meter" aria-hidden="true">
          <i class={kind || 'plain'} style={{ width: `${used * 100}%` }} />
        </span>
        {`${Math.round(used * 100)} %`}
      </span>
      <small>
        {bytes(disk.freeBytes)} free of {bytes(disk.totalBytes)}
        {disk.blobBytes ? `, ${bytes(disk.blobBytes)} of blobs` : ''}
      </small>
    </>
  )
}

const views: [string, string, (m: Member) => boolean][] = [
  ['', 'All', () => true],
  ['voters', 'Voters', (m) => m.role === 'voter' || m.role === 'leader'],
  ['workers', 'Workers', (m) => m.mode !== 'orchestrator'],
]

function Nodes() {
  const list = (members.value?.members ?? []).filter((m) => m.status !== 'left').sort((a, b) => (a.name < b.name ? -1 : 1))
  const view = views.find(([name]) => name === (place.value.query.get('nodes') ?? '')) ?? views[0]
  const external = workers.value.filter((w) => w.external)
  const most = mostCommon(list.map((m) => m.version ?? ''))
  return (
    <section class="card" aria-label="Nodes">
      <div class="cardh wrap">
        <h2>Nodes</h2> <small>{`${count(list.length, 'member')}, ${count(health.value?.voters.length ?? 0, 'voter')}`}</small>
        <span class="grow" />
        <Choice label="Which nodes" name="nodes" list={views.map(([name, text]) => [name, text])} chosen={view[0]} />
      </div>
      <Table heads={['Node', 'Role', 'Gossip', '15 min', 'Slots', 'Reserved', 'Raft', 'Disk', 'Version', '']}>
        {list.filter(view[2]).map((m) => (
          <NodeRow key={m.id} m={m} most={most} />
        ))}
      </Table>
      {external.length > 0 && (
        <Table kind="external" heads={['External worker', 'State', 'Slots', 'Tags']}>
          {external.map((w) => (
            <tr key={w.id}>
              <th scope="row">
                <span class="node">
                  <Shape kind={w.status === 'Online' ? 'ok' : 'bad'} />
                  <span>
                    <b>
                      <a href={nodeLink(w.name || w.id)}>{w.name || w.id}</a>
                    </b>
                    <small>{w.endpoint}</small>
                  </span>
                </span>
              </th>
              <td data-label="State">{w.status}</td>
              <td data-label="Slots">
                <Slots used={w.currentLoad} all={w.capabilities.maxParallelModules ?? 0} />
              </td>
              <td data-label="Tags">{w.capabilities.tags?.join(', ')}</td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  )
}

function mostCommon(list: string[]): string {
  const n = new Map<string, number>()
  for (const v of list) n.set(v, (n.get(v) ?? 0) + 1)
  return [...n].sort((a, b) => b[1] - a[1])[0]?.[0] ?? ''
}

// outlook says what another failure would mean.
function outlook(voters: number, up: number): string {
  const majority = Math.floor(voters / 2) + 1
  if (up < majority) return `${up} of ${voters} voters answer: no majority. What runs continues; nothing new is accepted.`
  const spare = up - majority
  if (voters === 1) return 'One voter: if it fails, the cluster waits until it is back. Three nodes survive the loss of one.'
  return `${up} of ${voters} voters answer: ${spare === 0 ? 'one more failure stops new work; what runs continues' : `${count(spare, 'more failure')} can be survived`}.`
}

// copies says how many blobs one more failure would lose.
function copies(): string {
  const l = leading()
  if (!l) return 'with all copies'
  if ((members.value?.members ?? []).filter((m) => m.status !== 'left').length < 2) return 'one copy each: there is one node'
  return l.underReplicated ? `${count(l.underReplicated, 'file')} ${l.underReplicated === 1 ? 'has' : 'have'} one copy only` : 'every file has its copies'
}

function saveSnapshot() {
  const name = `pipelined-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.snapshot`
  offer({
    title: 'Save a snapshot?',
    text: 'A file with the state of the cluster: definitions, runs, schedules, tokens and sealed secrets. Output and files of runs are not in it.',
    button: 'Save',
    cli: () => cli('snapshot', 'save', name),
    method: 'GET',
    path: '/api/v1/snapshot',
    wait: 60000,
    then: async (answer) => save(await answer.blob(), name),
    done: `${name} is saved`,
  })
}

function Figures() {
  const [h, r] = [health.value!, raft.value]
  const list = (members.value?.members ?? []).filter((m) => m.status === 'alive')
  const versions = [...new Set(list.map((m) => m.version ?? ''))]
  const active = order.value.map((id) => runs.get(id)!.value).filter((x) => !final(x.state))
  const sum = (of: (m: Member) => number) => list.reduce((n, m) => n + of(m), 0)
  const waiting = waits() + dependencies()
  const takeover = lastTakeover()
  const newest = commits.value.at(-1)
  return (
    <dl class="card kpis">
      <Figure name="Leader" value={h.leader || 'none'} note={`term ${h.term}`} />
      <Figure name="Last takeover" value={takeover[0]} note={takeover[1]} />
      <Figure name="Committed" value={h.commitIndex.toLocaleString('en')} note={newest ? `${ms(newest.median)}, 99 % ${ms(newest.p99)}` : r && r.lastIndex > r.commitIndex ? `${r.lastIndex - r.commitIndex} entries under way` : 'entries of the log'} />
      <Figure name="Slots" value={`${sum((m) => m.currentLoad)} of ${sum((m) => m.maxLoad)}`} note={`${count(active.length, 'run')}, ${modulesWait(waiting)}`} />
      <Figure name="Blobs" value={blobBytes() ? bytes(blobBytes()) : 'not counted'} note={copies()} />
      <Figure
        name="Versions"
        value={versions.length === 1 ? revision(versions[0]) : `${versions.length}`}
        note={versions.length === 1 ? 'on every node' : versions.map(revision).join(', ')}
        title={versions.join(', ')}
      />
    </dl>
  )
}

export function Cluster() {
  useWorkers()
  useReports()
  useWaiting()
  useEvents()

  const h = health.value
  const list = (members.value?.members ?? []).filter((m) => m.status !== 'left')
  const up = list.filter((m) => m.status === 'alive').length
  const upVoters = h?.voters.filter((v) => list.some((m) => m.name === v && m.status === 'alive')).length ?? 0
  const kind: Kind = !h ? 'wait' : !h.quorum ? 'bad' : h.status === 'healthy' ? 'ok' : 'odd'
  show(kind, h ? `${h.status}: ${up} of ${count(list.length, 'node')}` : 'Cluster, pipelined')
  return (
    <>
      <Top path={[['Cluster']]}>
        <CopyAs
          lines={[
            ['Nodes', cli('members')],
            ['Workers', cli('workers')],
            ['Health', curl('GET', '/api/health')],
          ]}
        />
        {may('admin') && (
          <Act label="Save snapshot" onClick={saveSnapshot}>
            <Icon name="download" />
            <span class="hide-s">Save snapshot</span>
          </Act>
        )}
      </Top>
      <div class="scroll">
        {!h ? (
          <Blank page title="Asking the cluster" />
        ) : (
          <>
            <div class="pt">
              <Pill kind={kind}>{!h.quorum ? 'No majority' : h.status === 'healthy' ? 'Healthy' : 'Degraded'}</Pill>
              <h1>{`${up} of ${count(list.length, 'node')} ${list.length === 1 ? 'answers' : 'answer'}`}</h1>
              <span class="muted">{outlook(h.voters.length, upVoters)}</span>
            </div>
            {(h.reasons?.length ?? 0) > 0 && (
              <ul class="reasons s-odd">
                {h.reasons!.map((text) => (
                  <li key={text}>
                    <Shape kind="odd" />
                    {text}
                  </li>
                ))}
              </ul>
            )}
            <Figures />
            <Nodes />
            <div class="trio">
              <Consensus />
              <Sights />
              <Events />
            </div>
            <div class="duo">
              <Commits takeovers={takeovers.value} />
              <Waits />
            </div>
            {list.length === 1 && (
              <section class="card teach">
                <h2>Add a node</h2>
                <p>Copy the cluster key to another machine, and join this one from there:</p>
                <code>pipelined agent -join {list[0].addr}</code>
              </section>
            )}
          </>
        )}
      </div>
    </>
  )
}
