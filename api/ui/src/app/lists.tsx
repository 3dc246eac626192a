// Pages that are lists: schedules, cached results, secrets and tokens.
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { ComponentChildren } from 'preact'
import { Refused, json } from './api'
import { bytes, coarse, count, dateTime, duration, seconds } from './format'
import { Shape, ofRun, type Kind } from './icons'
import { Blank, Command, CopyAs, Figure, Table, cli, curl, every, inZone, offer, utc } from './parts'
import { Top, show } from './shell'
import { may, now } from './store'
import type { RunState, Schedule } from './types'

// refused is why the list that is shown cannot be.
const refused = signal('')

function useList<T>(path: string, into: { value: T[] | null }, take: (a: any) => T[]) {
  useEffect(() => {
    refused.value = ''
  }, [path])
  every(4000, async () => {
    try {
      into.value = take(await json(path))
      refused.value = ''
    } catch (e) {
      if (e instanceof Refused && e.status < 500) refused.value = e.message
    }
  })
}

function Card({ title, note, list, blank, children }: { title: string; note: string; list: unknown[] | null; blank: ComponentChildren; children: ComponentChildren }) {
  return (
    <section class="card" aria-label={title}>
      <h2 class="cardh">
        {title} <small>{note}</small>
      </h2>
      {refused.value ? (
        <Blank title="This token may not look at it">
          <p>{refused.value}</p>
        </Blank>
      ) : list === null ? (
        <Blank title="Asking the cluster" />
      ) : list.length === 0 ? (
        blank
      ) : (
        children
      )}
    </section>
  )
}

interface Scheduled extends Schedule { last: Tick | null; fired: number; skipped: number }
interface Tick { tick: string; at: string; run?: string; state?: RunState; skipped?: string; count?: number }
const schedules = signal<Scheduled[] | null>(null)

function change(s: Schedule, what: 'pause' | 'resume' | 'trigger') {
  const texts = {
    pause: ['Pause', 'Ticks that are due while it is paused are skipped.', `${s.name} is paused`],
    resume: ['Resume', 'The next tick starts a run again.', `${s.name} runs at its times again`],
    trigger: ['Trigger', 'A run of it is created now, besides those of its ticks.', `A run of ${s.name} was created`],
  }[what]
  offer({
    title: `${texts[0]} ${s.name}?`,
    text: texts[1],
    button: texts[0],
    cli: () => cli('schedules', what, s.name),
    path: `/api/v1/schedules/${encodeURIComponent(s.name)}/${what}`,
    done: texts[2],
  })
}

function lastOf(t: Tick): [Kind, ComponentChildren] {
  if (t.skipped) return ['skip', `skipped${t.count && t.count > 1 ? ` ${t.count} ticks` : ''}: ${t.skipped}`]
  const [kind, word] = t.state ? ofRun(t.state) : (['ok', 'Its run is no longer kept'] as [Kind, string])
  return [kind, t.run && t.state ? <a href={'/runs/' + t.run}>{word}</a> : word]
}

export function Schedules() {
  show('wait', 'Schedules, pipelined')
  useList('/api/v1/schedules', schedules, (a) => a.schedules)
  const list = schedules.value
  return (
    <>
      <Top path={[['Schedules']]}>
        <CopyAs
          lines={[
            ['Command', cli('schedules', 'ls')],
            ['curl', curl('GET', '/api/v1/schedules')],
          ]}
        />
      </Top>
      <div class="scroll">
        <h1 class="sr">Schedules</h1>
        <Card
          title="Schedules"
          note={list ? count(list.length, 'pipeline') : ''}
          list={list}
          blank={
            <Blank title="No pipeline is registered for its schedule">
              <p>Give a pipeline a schedule block, and register it:</p>
              <Command text={'schedule {\n  cron     = ["30 2 * * *"]\n  timezone = "Europe/Berlin"\n}'} />
              <Command text="pipelined submit -register nightly.hcl" />
            </Blank>
          }
        >
          <Table heads={['Pipeline', 'When', 'Next', 'Last', 'So far', ...(may('submit') ? [''] : [])]}>
            {list?.map((s) => {
              const last = s.last && lastOf(s.last)
              return (
                <tr key={s.name}>
                  <th scope="row">
                    <b>
                      <a href={`/runs?pipeline=${encodeURIComponent(s.name)}`}>{s.name}</a>
                    </b>
                    {s.paused && <span class="rl dr">paused</span>}
                  </th>
                  <td data-label="When">
                    <span class="mono">{s.cron.join(', ')}</span>
                    <small>{s.timezone || 'UTC'}</small>
                  </td>
                  <td data-label="Next">
                    {s.next && !s.paused ? (
                      <>
                        in {coarse(seconds(s.next) - now.value)}
                        <small>
                          {inZone(s.next, s.timezone)}, {utc(s.next)}
                        </small>
                      </>
                    ) : (
                      <span class="muted">{s.paused ? 'not while it is paused' : 'never'}</span>
                    )}
                  </td>
                  <td data-label="Last">
                    {last ? (
                      <>
                        <Shape kind={last[0]} /> {last[1]}
                        <small>
                          {inZone(s.last!.tick, s.timezone)}, {utc(s.last!.tick)}, {coarse(now.value - seconds(s.last!.tick))} ago
                        </small>
                      </>
                    ) : (
                      <span class="muted">none yet</span>
                    )}
                  </td>
                  <td data-label="So far">
                    {count(s.fired, 'run')}
                    <small>{s.skipped ? `${s.skipped} skipped` : ''}</small>
                  </td>
                  {may('submit') && (
                    <td class="act">
                      <span class="row">
                        <button class="btn" aria-label={`Trigger ${s.name}`} onClick={() => change(s, 'trigger')}>
                          Trigger
                        </button>
                        <button class="btn" aria-label={`${s.paused ? 'Resume' : 'Pause'} ${s.name}`} onClick={() => change(s, s.paused ? 'resume' : 'pause')}>
                          {s.paused ? 'Resume' : 'Pause'}
                        </button>
                      </span>
                    </td>
                  )}
                </tr>
              )
            })}
          </Table>
        </Card>
      </div>
    </>
  )
}

interface Entry { key: string; pipeline: string; module: string; run: string; worker?: string; madeAt: string; usedAt: string; durationSeconds: number; hits: number; bytes: number; files: number }
interface Stats { entries: number; bytes: number; hits: number; misses: number; savedSeconds: number; evicted: number }
const entries = signal<Entry[] | null>(null)
const stats = signal<Stats | null>(null)

export function Cache() {
  show('wait', 'Cache, pipelined')
  useList('/api/v1/cache?limit=200', entries, (a) => a.entries)
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
              value={s.hits + s.misses > 0 ? `${Math.round((s.hits / (s.hits + s.misses)) * 100)} %` : 'none'}
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
                  <a href={`/runs/${e.run}?m=${encodeURIComponent(e.module)}`}>{coarse(now.value - seconds(e.madeAt))} ago</a>
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
      </div>
    </>
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
      </div>
    </>
  )
}

function Secrets() {
  useList('/api/v1/secrets', secrets, (a) => a.secrets)
  const list = secrets.value
  return (
    <Card
      title="Secrets"
      note="names only; values are never shown"
      list={list}
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
                <button class="btn" aria-label={`Remove ${s.name}`} onClick={() => remove('secret', s.name, s.name)}>
                  Remove
                </button>
              </td>
            )}
          </tr>
        ))}
      </Table>
    </Card>
  )
}

function Tokens() {
  useList('/api/v1/tokens', tokens, (a) => a.tokens)
  const list = tokens.value
  return (
    <Card title="Tokens" note="without their secrets" list={list} blank={<Blank title="There are no tokens" />}>
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
              <button class="btn" aria-label={`Revoke ${t.name || t.id}`} onClick={() => remove('token', t.id, t.name ?? '')}>
                Revoke
              </button>
            </td>
          </tr>
        ))}
      </Table>
    </Card>
  )
}
