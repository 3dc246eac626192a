// Pages that are lists: cached results, secrets and tokens.
import { signal } from '@preact/signals'
import { json } from './api'
import { Card, useAsked } from './card'
import { bytes, coarse, count, dateTime, duration, percent, seconds } from './format'
import { Act, Blank, Command, CopyAs, Figure, Table, cli, curl, every, offer } from './parts'
import { runLink } from './route'
import { Top, show } from './shell'
import { may, now } from './store'
import { Webhooks } from './webhooks'

interface Entry { key: string; pipeline: string; module: string; run: string; worker?: string; madeAt: string; usedAt: string; durationSeconds: number; hits: number; bytes: number; files: number }
interface Stats { entries: number; bytes: number; hits: number; misses: number; savedSeconds: number; evicted: number }
const entries = signal<Entry[] | null>(null)
const stats = signal<Stats | null>(null)

export function Cache() {
  show('wait', 'Cache, pipelined')
  const refused = useAsked<Entry[]>('/api/v1/cache?limit=200', entries, (a) => a.entries)
  every(4000, () => json<Stats>('/api/v1/cache/stats').then((s) => (stats.value = s)))
  const [list, s] = [entries.value, stats.value]
  return (
    <>
      <Top path={[['Cache']]}>
        <CopyAs
          lines={[
            ['Entries', cli('cache', 'ls')],
            ['Counts', cli('cache', 'stats')],
            ['curl', curl('GET', '/api/v1/cache/stats')],
          ]}
        />
      </Top>
      <div class="scroll">
        <h1 class="sr">Cache</h1>
        {s && (
          <dl class="card kpis four">
            <Figure
              name="Hits"
              value={s.hits + s.misses > 0 ? percent(s.hits / (s.hits + s.misses)) : 'none'}
              note={`${s.hits} of ${s.hits + s.misses} look-ups`}
            />
            <Figure name="Saved" value={s.savedSeconds > 0 ? duration(s.savedSeconds) : 'nothing'} note="of modules that did not run" />
            <Figure name="Entries" value={s.entries.toLocaleString('en')} note={`${bytes(s.bytes)} of outputs`} />
            <Figure name="Evicted" value={s.evicted.toLocaleString('en')} note="by the limits of the cluster" />
          </dl>
        )}
        <Card
          title="Cached results"
          note={list ? (list.length === 200 ? 'the first 200' : count(list.length, 'entry', 'entries')) : ''}
          list={list}
          refused={refused}
          blank={
            <Blank title="Nothing is cached">
              <p>A module with cache = true takes the result of an earlier one that had the same inputs:</p>
              <Command text={'module "build" {\n  inputs = ["src/**"]\n  script = "make"\n  cache  = true\n}'} />
            </Blank>
          }
        >
          <Table heads={['Module', 'Made', 'Took', 'Hits', 'Used', 'Outputs']}>
            {list?.map((e) => (
              <tr key={e.key}>
                <th scope="row">
                  {e.module} <small>{e.pipeline}</small>
                </th>
                <td data-label="Made">
                  <a href={runLink(e.run, e.module)}>{coarse(now.value - seconds(e.madeAt))} ago</a>
                  <small>{e.worker}</small>
                </td>
                <td data-label="Took">{duration(e.durationSeconds)}</td>
                <td data-label="Hits">{e.hits}</td>
                <td data-label="Used">{coarse(now.value - seconds(e.usedAt))} ago</td>
                <td data-label="Outputs">{e.files ? `${count(e.files, 'file')}, ${bytes(e.bytes)}` : 'none'}</td>
              </tr>
            ))}
          </Table>
        </Card>
        <Tools />
      </div>
    </>
  )
}

interface Tool { kind: string; space: string; team?: string; key: string; bytes: number; storedAt: string; takenAt: string }
const tools = signal<Tool[] | null>(null)
const toolNames: Record<string, string> = { bazel: 'Bazel, ccache', turbo: 'Turborepo' }
const spaces: Record<string, string> = { ac: 'an action', cas: 'a file' }

// Tools are entries that other tools keep in the cluster.
function Tools() {
  const refused = useAsked<Tool[]>('/api/v1/cache/tools?limit=200', tools, (a) => a.entries)
  const list = tools.value
  return (
    <Card
      title="Remote caches"
      note={list ? (list.length === 200 ? 'the first 200 entries' : count(list.length, 'entry', 'entries')) : ''}
      list={list}
      refused={refused}
      blank={
        <Blank title="No tool keeps anything here">
          <p>Bazel, ccache and Turborepo can keep what they build in this cluster. For Bazel:</p>
          <Command text={`build --remote_cache=${location.origin}`} />
          <p>For ccache:</p>
          <Command text={`export CCACHE_REMOTE_STORAGE='${location.origin}|layout=bazel'`} />
        </Blank>
      }
    >
      <Table heads={['Key', 'Tool', 'Size', 'Stored', 'Used']}>
        {list?.map((t) => (
          <tr key={t.space + (t.team ?? '') + t.key}>
            <th scope="row" class="mono clip" title={t.key}>
              {t.key.slice(0, 24)}
              {t.key.length > 24 && '…'}
            </th>
            <td data-label="Tool">
              {toolNames[t.kind] ?? t.kind}
              <small>{[spaces[t.space], t.team ? `team ${t.team}` : ''].filter(Boolean).join(', ')}</small>
            </td>
            <td data-label="Size">{bytes(t.bytes)}</td>
            <td data-label="Stored">{coarse(now.value - seconds(t.storedAt))} ago</td>
            <td data-label="Used">{coarse(now.value - seconds(t.takenAt))} ago</td>
          </tr>
        ))}
      </Table>
    </Card>
  )
}

interface Secret { name: string; setAt: string; setBy?: string; unmasked?: boolean }
interface Token { id: string; name?: string; role: string; createdAt: string; expiresAt?: string; untrusted?: boolean; signIn?: boolean }
const secrets = signal<Secret[] | null>(null)
const tokens = signal<Token[] | null>(null)

function remove(what: 'secret' | 'token', id: string, name: string) {
  offer({
    title: what === 'secret' ? `Remove the secret ${name}?` : `Revoke the token ${name || id}?`,
    text: what === 'secret' ? 'Modules that name it can no longer start.' : 'Calls with it are refused from now on.',
    button: what === 'secret' ? 'Remove' : 'Revoke',
    danger: true,
    cli: () => cli(what === 'secret' ? 'secrets' : 'token', 'rm', id),
    method: 'DELETE',
    path: `/api/v1/${what}s/${encodeURIComponent(id)}`,
    done: what === 'secret' ? `${name} is removed` : 'The token is revoked',
  })
}

export function Access() {
  show('wait', 'Secrets and tokens, pipelined')
  return (
    <>
      <Top path={[['Secrets and tokens']]}>
        <CopyAs
          lines={[
            ['Secrets', cli('secrets', 'ls')],
            ['Tokens', cli('token', 'ls')],
          ]}
        />
      </Top>
      <div class="scroll">
        <h1 class="sr">Secrets and tokens</h1>
        <Secrets />
        {may('admin') && <Tokens />}
        {may('admin') && <Webhooks />}
      </div>
    </>
  )
}

function Secrets() {
  const refused = useAsked<Secret[]>('/api/v1/secrets', secrets, (a) => a.secrets)
  const list = secrets.value
  return (
    <Card
      title="Secrets"
      note="names only; values are never shown"
      list={list}
      refused={refused}
      blank={
        <Blank title="No secret is set">
          <p>A value comes from standard input or a file, so that it is in no history:</p>
          <Command text="pipelined secrets set DEPLOY_KEY" />
        </Blank>
      }
    >
      <Table heads={['Name', 'Set', 'By', 'Masked', ...(may('admin') ? [''] : [])]}>
        {list?.map((s) => (
          <tr key={s.name}>
            <th scope="row" class="mono">
              {s.name}
            </th>
            <td data-label="Set">{dateTime(s.setAt)}</td>
            <td data-label="By">{s.setBy}</td>
            <td data-label="Masked" class={s.unmasked ? 's-odd' : ''}>
              {s.unmasked ? 'too short to be masked' : 'in all output'}
            </td>
            {may('admin') && (
              <td class="act">
                <Act label={`Remove ${s.name}`} onClick={() => remove('secret', s.name, s.name)}>
                  Remove
                </Act>
              </td>
            )}
          </tr>
        ))}
      </Table>
    </Card>
  )
}

function Tokens() {
  const refused = useAsked<Token[]>('/api/v1/tokens', tokens, (a) => a.tokens)
  const list = tokens.value
  return (
    <Card title="Tokens" note="without their secrets" list={list} refused={refused} blank={<Blank title="There are no tokens" />}>
      <Table heads={['Name', 'Role', 'Created', 'Expires', '']}>
        {list?.map((t) => (
          <tr key={t.id}>
            <th scope="row">
              {t.name || 'without a name'} <small class="mono">{t.id}</small>
            </th>
            <td data-label="Role">
              {t.role}
              <small>{[t.untrusted ? 'untrusted' : '', t.signIn ? 'of a browser' : ''].filter(Boolean).join(', ')}</small>
            </td>
            <td data-label="Created">{dateTime(t.createdAt)}</td>
            <td data-label="Expires">{t.expiresAt ? `in ${coarse(seconds(t.expiresAt) - now.value)}` : 'never'}</td>
            <td class="act">
              <Act label={`Revoke ${t.name || t.id}`} onClick={() => remove('token', t.id, t.name ?? '')}>
                Revoke
              </Act>
            </td>
          </tr>
        ))}
      </Table>
    </Card>
  )
}
