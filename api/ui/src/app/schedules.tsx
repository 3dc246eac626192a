// Schedules: what runs when, what became of the last ticks, and the week ahead.
import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { Card, useAsked } from './card'
import { coarse, count, dateTime, duration, seconds } from './format'
import { Shape, ofRun, type Kind } from './icons'
import { Act, Blank, Command, CopyAs, Table, cli, curl, inZone, offer, times } from './parts'
import { pipelineLink, runLink } from './route'
import { Top, show } from './shell'
import { may, now } from './store'
import type { RunState, Schedule } from './types'
import { Week } from './week'

interface Scheduled extends Schedule { last: Tick | null; fired: number; skipped: number; upcoming?: string[]; upcomingUntil?: string; backfill?: Backfill; registeredAt: string; git?: { sha?: string; dirty?: boolean }; variables?: Record<string, string>; sensitive?: string[] }
interface Backfill { from: string; to: string; ticks: number; maxParallel: number; by?: string; next?: string; runs: number; hadRuns: number; running: number; succeeded: number; failed: number; finishedAt?: string; stopped?: string }
interface Tick { tick: string; at: string; startedAt?: string; run?: string; state?: RunState; skipped?: string; count?: number }
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

function stopBackfill(s: Schedule) {
  offer({
    title: `Stop the backfill of ${s.name}?`,
    text: 'No further runs are created for ticks of the past. Those under way continue.',
    button: 'Stop',
    cli: () => cli('schedules', 'backfill', '-cancel', s.name),
    method: 'DELETE',
    path: `/api/v1/schedules/${encodeURIComponent(s.name)}/backfill`,
    done: `The backfill of ${s.name} is stopped`,
  })
}

// given are the values that a schedule was registered with.
function given(s: Scheduled): string {
  return [...Object.entries(s.variables ?? {}).map(([name, value]) => `${name} = ${value}`), ...(s.sensitive ?? []).map((name) => `${name} = ***`)].sort().join(', ')
}

// files says which files its runs use.
function files(s: Scheduled): string {
  return `files of ${dateTime(s.registeredAt)}${s.git?.sha ? `, commit ${s.git.sha.slice(0, 8)}${s.git.dirty ? ' with changes' : ''}` : ''}`
}

// filled says how far a backfill is.
function filled(b: Backfill): string {
  const days = `${b.from.slice(0, 10)} to ${b.to.slice(0, 10)}`
  const parts = [`${b.hadRuns + b.succeeded + b.failed} of ${count(b.ticks, 'tick')}`, b.failed && `${b.failed} failed`, b.running && `${b.running} running`, b.hadRuns && `${b.hadRuns} had a run`, b.stopped]
  return `Backfill of ${days}: ${parts.filter(Boolean).join(', ')}`
}

function lastOf(t: Tick): [Kind, ComponentChildren] {
  if (t.skipped) return ['skip', `skipped${t.count && t.count > 1 ? ` ${t.count} ticks` : ''}: ${t.skipped}`]
  const [kind, word] = t.state ? ofRun(t.state) : (['ok', 'Its run is no longer kept'] as [Kind, string])
  return [kind, t.run && t.state ? <a href={runLink(t.run)}>{word}</a> : word]
}

// started says when the run of a tick really began: the leader may have been away when it
// was due, or the run waited for another one.
function started(t: Tick, zone: string): string {
  if (t.skipped) return ''
  if (!t.startedAt) return `run created ${inZone(t.at, zone, true)}${t.state === 'waiting' ? ', not started yet' : ''}`
  const late = seconds(t.startedAt) - seconds(t.tick)
  return `started ${inZone(t.startedAt, zone, true)}, ${late < 1 ? 'on time' : duration(late) + ' later'}`
}

export function Schedules() {
  show('wait', 'Schedules, pipelined')
  const refused = useAsked<Scheduled[]>('/api/v1/schedules?days=7', schedules, (a) => a.schedules)
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
          refused={refused}
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
                      <a href={pipelineLink(s.name)}>{s.name}</a>
                    </b>
                    {s.paused && <span class="rl dr">paused</span>}
                    <small title={`Its runs use these until ${cli('schedules', 'update', '-files', s.name)}`}>{files(s)}</small>
                    {given(s) && <small>{given(s)}</small>}
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
                          {times(s.next, s.timezone)}
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
                          due {times(s.last!.tick, s.timezone)}, {coarse(now.value - seconds(s.last!.tick))} ago
                        </small>
                        <small>{started(s.last!, s.timezone)}</small>
                      </>
                    ) : (
                      <span class="muted">none yet</span>
                    )}
                  </td>
                  <td data-label="So far">
                    {count(s.fired, 'run')}
                    <small>{s.skipped ? `${s.skipped} skipped` : ''}</small>
                    {s.backfill && <small>{filled(s.backfill)}</small>}
                  </td>
                  {may('submit') && (
                    <td class="act">
                      <span class="row">
                        {s.backfill && !s.backfill.finishedAt && (
                          <Act label={`Stop the backfill of ${s.name}`} onClick={() => stopBackfill(s)}>
                            Stop backfill
                          </Act>
                        )}
                        <Act label={`Trigger ${s.name}`} onClick={() => change(s, 'trigger')}>
                          Trigger
                        </Act>
                        <Act label={`${s.paused ? 'Resume' : 'Pause'} ${s.name}`} onClick={() => change(s, s.paused ? 'resume' : 'pause')}>
                          {s.paused ? 'Resume' : 'Pause'}
                        </Act>
                      </span>
                    </td>
                  )}
                </tr>
              )
            })}
          </Table>
        </Card>
        {list && list.length > 0 && <Week list={list} />}
      </div>
    </>
  )
}
