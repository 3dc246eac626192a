// Locks: who holds each key of not_in_parallel, and who waits for it.
import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { Card, useAsked } from './card'
import { coarse, count, modulesWait, seconds } from './format'
import { Blank, Command, CopyAs, Table, cli, curl } from './parts'
import { runLink } from './route'
import { Top, show } from './shell'
import { now, ref, runs } from './store'
import type { Lock, LockUser } from './types'

const locks = signal<Lock[] | null>(null)

const since = (u: LockUser) => coarse(now.value - seconds(u.since))

function User({ u }: { u: LockUser }) {
  const r = runs.get(u.run)?.value
  return (
    <a href={runLink(r ? ref(r) : u.run, u.module)}>
      {u.module} <span class="muted">of {r ? `${r.pipeline} ${r.number}` : u.run.slice(0, 8)}</span>
    </a>
  )
}

// Holders shows something of each holder, one a line: the columns of a row agree.
function Holders({ l, show }: { l: Lock; show: (u: LockUser) => ComponentChildren }) {
  return l.holders.map((u) => <div key={u.run + u.module}>{show(u)}</div>)
}

export function Locks() {
  const refused = useAsked<Lock[]>('/api/v1/locks', locks, (a) => a.locks)
  const list = locks.value
  const queued = list?.reduce((n, l) => n + l.waiters.length, 0) ?? 0
  show('wait', 'Locks, pipelined')
  return (
    <>
      <Top path={[['Locks']]}>
        <CopyAs
          lines={[
            ['Command', cli('locks')],
            ['curl', curl('GET', '/api/v1/locks')],
          ]}
        />
      </Top>
      <div class="scroll">
        <h1 class="sr">Locks</h1>
        <Card
          title="Locks"
          note={list ? `${count(list.length, 'key')} of not_in_parallel, ${modulesWait(queued)}` : ''}
          list={list}
          refused={refused}
          blank={
            <Blank title="No lock is held or waited for">
              <p>Modules that name the same key run one after another, or as many at once as it allows, in the whole cluster and over all runs:</p>
              <Command text={'module "integration" {\n  not_in_parallel = ["test-db"]\n  script          = "make integration"\n}'} />
            </Blank>
          }
        >
          <Table heads={['Lock', 'Held by', 'On', 'Since', 'Waiting, in order']}>
            {list?.map((l) => (
              <tr key={l.key}>
                <th scope="row" class="mono">
                  {l.key}
                </th>
                <td data-label="Held by">
                  {l.holders.length === 0 ? <span class="muted">free</span> : <Holders l={l} show={(u) => <User u={u} />} />}
                  {(l.limit > 1 || l.holders.length > 1) && (
                    <span class="muted">
                      {l.holders.length} of {l.limit}
                    </span>
                  )}
                </td>
                <td data-label="On">
                  <Holders l={l} show={(u) => u.worker} />
                </td>
                <td data-label="Since">
                  <Holders l={l} show={since} />
                </td>
                <td data-label="Waiting">
                  {l.waiters.length === 0 ? (
                    <span class="muted">none</span>
                  ) : (
                    <ol class="queue">
                      {l.waiters.map((u) => (
                        <li key={u.run + u.module}>
                          <User u={u} /> <span class="muted">{since(u)}</span>
                        </li>
                      ))}
                    </ol>
                  )}
                </td>
              </tr>
            ))}
          </Table>
        </Card>
      </div>
    </>
  )
}
