// One node: what it is, what runs there, who sees it, and what happened to it.
import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { json } from './api'
import { Card, useAsked } from './card'
import { Load } from './charts'
import { Disk, DrainButton, Lag, Meter, Slots, ahead, stateOf, useWorkers, workers } from './cluster'
import { EventRows } from './events'
import { bytes, coarse, count, duration, seconds } from './format'
import { Shape, type Kind } from './icons'
import { Blank, CopyAs, Figure, Pill, Table, cli, curl, every } from './parts'
import { nodeLink, runLink } from './route'
import { Top, show } from './shell'
import { allReports, reportOf, sightWords, useReports } from './sights'
import { health, members, now, raft } from './store'
import type { Event, EventList, Member, NodeReport, Running, Sight, WorkerNode } from './types'

const running = signal<Running[] | null>(null)
const happened = signal<{ of: string; events: Event[] } | null>(null)

export function NodePage({ name }: { name: string }) {
  useWorkers()
  useReports()
  every(
    3000,
    () => json<EventList>(`/api/v1/events?limit=100&type=leader&type=node&type=worker&type=data&node=${encodeURIComponent(name)}`).then((a) => (happened.value = { of: name, events: a.events })),
    name,
  )
  const m = members.value?.members.find((x) => x.name === name && x.status !== 'left') ?? members.value?.members.find((x) => x.name === name)
  const w = workers.value.find((x) => (m ? x.id === m.id || x.name === m.name : x.name === name || x.id === name))
  const [kind, word]: [Kind, string] = m ? stateOf(m) : w ? [w.status === 'Online' ? 'ok' : 'bad', w.status.toLowerCase()] : ['wait', '']
  show(kind, `${name}${word && ': ' + word}`)
  return (
    <>
      <Top path={[['Cluster', '/cluster'], [name]]}>
        <CopyAs
          lines={[
            ['Nodes', cli('nodes')],
            ['Drain', cli('drain', name)],
            ['What runs there', curl('GET', '/api/v1/running?node=' + encodeURIComponent(name))],
          ]}
        />
        {m && <DrainButton m={m} />}
      </Top>
      <div class="scroll">
        {m || w ? (
          <>
            <div class="pt">
              <Pill kind={kind}>{word[0].toUpperCase() + word.slice(1)}</Pill>
              <h1>{name}</h1>
              {m?.draining && <span class="rl dr">draining</span>}
              <span class="muted">{m ? sentence(m) : 'External worker: a program that runs modules over HTTP'}</span>
            </div>
            {m && <Figures m={m} w={w} report={reportOf(m.name)} />}
            <Works name={name} />
            {m && m.mode !== 'orchestrator' && (
              <section class="card" aria-label="Load">
                <h2 class="cardh">
                  Load <small>{`slots in use of ${m.maxLoad}, over the last 15 minutes, while this page is open`}</small>
                </h2>
                <Load name={m.name} slots={m.maxLoad} tall />
              </section>
            )}
            <div class="duo">
              <Facts m={m} w={w} />
              {m && <Seen name={m.name} />}
            </div>
            <section class="card events" aria-label="Events">
              <h2 class="cardh">
                Events <small>{`of ${name}`}</small>
              </h2>
              <EventRows list={happened.value?.of === name ? happened.value.events : null} />
            </section>
          </>
        ) : (
          <Blank page title={members.value ? `There is no node ${name}` : 'Asking the cluster'}>
            {members.value && (
              <p>
                <a href="/cluster">Show the cluster</a>
              </p>
            )}
          </Blank>
        )}
      </div>
    </>
  )
}

// sentence says what part a node has in the cluster.
function sentence(m: Member): string {
  const h = health.value
  const part: Record<string, string> = {
    leader: `Leads the cluster in term ${h?.term ?? '?'} and has a vote`,
    voter: `Has a vote; ${h?.leader || 'no node'} leads`,
    standby: 'Has the state and no vote; it takes the place of a voter that is lost',
    worker: 'Runs modules, and has no vote',
  }
  return part[m.role] ?? m.role
}

function Figures({ m, w, report }: { m: Member; w?: WorkerNode; report?: NodeReport }) {
  const disk = report?.disk
  const used = disk?.totalBytes ? `${Math.round((1 - disk.freeBytes / disk.totalBytes) * 100)} %` : 'not known'
  const lag = report?.lag
  return (
    <dl class="card kpis">
      <Figure name="Role" value={m.role} note={m.mode === 'auto' ? 'votes and runs modules as needed' : `mode ${m.mode}`} />
      <Figure name="Slots" value={m.mode === 'orchestrator' ? 'none' : `${m.currentLoad} of ${m.maxLoad}`} note={m.mode === 'orchestrator' ? 'it runs no modules' : 'in use'} />
      <Figure name="Reserved" value={w?.capabilities.cpu ? `${+(w.reserved?.cpu ?? 0).toFixed(1)} of ${w.capabilities.cpu}` : 'nothing'} note={w?.capabilities.memory ? `processors; ${bytes(w.reserved?.memory ?? 0)} of ${bytes(w.capabilities.memory)}` : 'processors and memory'} />
      <Figure name="Behind" value={m.role === 'leader' ? 'leads' : lag === undefined ? 'not known' : lag.toLocaleString('en')} note={m.role === 'leader' ? `index ${raft.value?.lastIndex.toLocaleString('en') ?? ''}` : 'entries of the log'} />
      <Figure name="Disk" value={used} note={disk?.totalBytes ? `${bytes(disk.freeBytes)} free${disk.blobBytes ? `, ${bytes(disk.blobBytes)} of blobs` : ''}` : (report?.missing ?? 'not reported yet')} />
      <Figure name="Up" value={report?.startedAt ? coarse(now.value - seconds(report.startedAt)) : 'not known'} note={m.version ?? ''} title={m.version} />
    </dl>
  )
}

// Works is what runs on a node now.
function Works({ name }: { name: string }) {
  const refused = useAsked<Running[]>('/api/v1/running?node=' + encodeURIComponent(name), running, (a) => a.running, 2000)
  const list = running.value?.filter((x) => x.node === name) ?? null
  return (
    <Card title="What runs here" note={list ? count(list.length, 'attempt') : ''} list={list} refused={refused} blank={<p class="none">No module runs here.</p>}>
      <Table heads={['Module', 'Run', 'Attempt', 'For']}>
        {list?.map((x) => (
          <tr key={x.run + x.module}>
            <th scope="row">
              <a href={runLink(x.number, x.module, x.attempt)}>{x.module}</a>
            </th>
            <td data-label="Run">
              <a href={runLink(x.number)}>
                {x.pipeline} {x.number}
              </a>
            </td>
            <td data-label="Attempt">{x.attempt}</td>
            <td data-label="For">{x.startedAt ? duration(now.value - seconds(x.startedAt)) : <span class="muted">starts</span>}</td>
          </tr>
        ))}
      </Table>
    </Card>
  )
}

function Facts({ m, w }: { m?: Member; w?: WorkerNode }) {
  const server = m && raft.value?.servers.find((s) => s.id === m.id)
  const c = w?.capabilities
  const rows: [string, ComponentChildren][] = [
    ['HTTP', m?.http ?? w?.endpoint],
    ['Peers', server?.address ?? m?.peer],
    ['Gossip', m?.gossip],
    ['Mode', m?.mode],
    ['Vote', m && (server ? server.suffrage : 'none')],
    ['Draining', m && (m.draining ? 'yes: it takes no more modules' : 'no')],
    ['Away until', m?.awayUntil && new Date(m.awayUntil).toLocaleTimeString()],
    ['Clock', m?.clockAheadSeconds ? `${ahead(m.clockAheadSeconds)} of ${health.value?.node}` : ''],
    ['System', c?.os],
    ['Containers', c && (c.containerEngine ?? 'no engine')],
    ['Tags', c?.tags?.length ? c.tags.join(', ') : c && 'none'],
    ['Slots', c?.maxParallelModules && (m ? <Slots used={m.currentLoad} all={m.maxLoad} /> : `${w!.currentLoad} of ${c.maxParallelModules}`)],
    ['Processors', c?.cpu && <Meter name="cpu" used={w!.reserved?.cpu ?? 0} all={c.cpu} unit={(n) => `${+n.toFixed(1)}`} />],
    ['Memory', c?.memory && <Meter name="mem" used={w!.reserved?.memory ?? 0} all={c.memory} unit={bytes} />],
    ['Log', server && m && <Lag m={m} lag={reportOf(m.name)?.lag} vote={server.suffrage} />],
    ['Disk', m && reportOf(m.name)?.disk && <Disk disk={reportOf(m.name)!.disk!} />],
    ['Version', m?.version],
    ['Id', m?.id ?? w?.id],
  ]
  return (
    <section class="card" aria-label="Facts">
      <h2 class="cardh">Facts</h2>
      <dl class="facts">
        {rows.map(
          ([name, value]) =>
            value && (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ),
        )}
      </dl>
    </section>
  )
}

// Seen is how a node and each other one see each other.
function Seen({ name }: { name: string }) {
  const own = reportOf(name)
  const others = allReports().filter((r) => r.name !== name)
  if (others.length === 0) return null
  return (
    <section class="card" aria-label="Who sees it">
      <h2 class="cardh">
        Who sees it <small>round trips in ms</small>
      </h2>
      <Table heads={['Node', `It sees ${name}`, `${name} sees it`]}>
        {others.map((r) => (
          <tr key={r.id}>
            <th scope="row">
              <a href={nodeLink(r.name)}>{r.name}</a>
            </th>
            <td data-label={`It sees ${name}`}>{sightOf(r.missing, r.sees?.find((s) => s.node === name))}</td>
            <td data-label={`${name} sees it`}>{sightOf(own?.missing, own?.sees?.find((s) => s.node === r.name))}</td>
          </tr>
        ))}
      </Table>
    </section>
  )
}

function sightOf(missing?: string, s?: Sight) {
  if (missing) return <span class="muted">no report: {missing}</span>
  if (!s) return <span class="muted">not known</span>
  const [kind, word, heard] = sightWords(s)
  return (
    <span class={'s-' + kind}>
      <Shape kind={kind} /> {word}
      {heard && ', but heard'}
    </span>
  )
}
