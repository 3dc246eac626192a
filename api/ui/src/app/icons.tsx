// Symbols of 16 by 16. Each state has a shape of its own, besides its colour.
import type { AttemptState, ModuleState, RunState } from './types'

const lines: Record<string, string> = {
  runs: 'M5 3.5v9l7.5-4.5z',
  cluster: 'M8 1.8a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6zM3.6 9.8a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6zM12.4 9.8a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6zM7.2 5.3 4.4 9.9M8.8 5.3l2.8 4.6M5.4 11.6h5.2',
  search: 'M7 2.8a4.2 4.2 0 1 1 0 8.4 4.2 4.2 0 0 1 0-8.4zM10.2 10.2l3.3 3.3',
  person: 'M8 2.8a2.6 2.6 0 1 1 0 5.2 2.6 2.6 0 0 1 0-5.2zM3 13.4c.6-2.6 2.6-3.8 5-3.8s4.4 1.2 5 3.8',
  clock: 'M8 2.2a5.8 5.8 0 1 1 0 11.6A5.8 5.8 0 0 1 8 2.2zM8 4.8V8l2.2 1.4',
  schedules: 'M4.5 3.5h7a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2h-7a2 2 0 0 1-2-2v-6a2 2 0 0 1 2-2zM2.5 6.8h11M5.5 2v2.6M10.5 2v2.6',
  stop: 'M5.6 4h4.8A1.6 1.6 0 0 1 12 5.6v4.8a1.6 1.6 0 0 1-1.6 1.6H5.6A1.6 1.6 0 0 1 4 10.4V5.6A1.6 1.6 0 0 1 5.6 4z',
  retry: 'M13 8a5 5 0 1 1-1.6-3.7M13.2 2.2v2.6h-2.6',
  copy: 'M7.3 5.5h4.4a1.8 1.8 0 0 1 1.8 1.8v4.4a1.8 1.8 0 0 1-1.8 1.8H7.3a1.8 1.8 0 0 1-1.8-1.8V7.3a1.8 1.8 0 0 1 1.8-1.8zM3.4 10.4A1.4 1.4 0 0 1 2.5 9V4A1.5 1.5 0 0 1 4 2.5h5a1.4 1.4 0 0 1 1.4.9',
  down: 'M4.5 6.5 8 10l3.5-3.5',
  right: 'M6.5 4.5 10 8l-3.5 3.5',
  download: 'M8 2.5v7.4M5 7.2l3 3 3-3M3 13.2h10',
  wrap: 'M2.5 4h11M2.5 8h8.4a2.2 2.2 0 0 1 0 4.4H8.6M2.5 12.4H6M9.8 11l-1.4 1.4 1.4 1.4',
  link: 'M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2-2a2.6 2.6 0 0 0-3.7-3.7l-.8.8M9.2 6.8a2.6 2.6 0 0 0-3.7 0l-2 2a2.6 2.6 0 0 0 3.7 3.7l.8-.8',
  close: 'm4.5 4.5 7 7m0-7-7 7',
  leave: 'M9.5 2.8H4.3a1.5 1.5 0 0 0-1.5 1.5v7.4a1.5 1.5 0 0 0 1.5 1.5h5.2M7 8h6.5M11 5.5 13.5 8 11 10.5',
  cache: 'M8 2c2.8 0 5 .9 5 2s-2.2 2-5 2-5-.9-5-2 2.2-2 5-2zM3 4v8c0 1.1 2.2 2 5 2s5-.9 5-2V4M3 8c0 1.1 2.2 2 5 2s5-.9 5-2',
  locks: 'M4.8 7.2h6.4a1.5 1.5 0 0 1 1.5 1.5v3.6a1.5 1.5 0 0 1-1.5 1.5H4.8a1.5 1.5 0 0 1-1.5-1.5V8.7a1.5 1.5 0 0 1 1.5-1.5zM5.3 7.2V5.1a2.7 2.7 0 0 1 5.4 0v2.1',
  approvals: 'M8 1.8 13 3.6v4.2c0 3-2 5.2-5 6.4-3-1.2-5-3.4-5-6.4V3.6zM5.8 7.9l1.6 1.6 2.9-3.1',
  pipelines: 'M4 2.4a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4zM12 10.2a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4zM5.7 4.1h3.1a2 2 0 0 1 2 2v1.4M10.3 11.9H7.2a2 2 0 0 1-2-2V8.5',
  secrets: 'M5.2 8.1a2.7 2.7 0 1 1 0 5.4 2.7 2.7 0 0 1 0-5.4zM7.2 8.8l5.6-5.6M10.6 5.4l1.8 1.8',
  more: 'M3.6 8h.01M8 8h.01M12.4 8h.01',
  branch: 'M5 2.5a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2zM5 10.3a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2zM11 3.7a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2zM5 5.7v4.6M11 6.9c0 2-2 2.2-4.5 3',
  plus: 'M8 3.5v9M3.5 8h9',
  minus: 'M3.5 8h9',
  fit: 'M2.8 6V2.8H6M10 2.8h3.2V6M13.2 10v3.2H10M6 13.2H2.8V10',
  pin: 'M6 2.5h4M7 2.5v4L4.8 9h6.4L9 6.5v-4M8 9v4.5',
}

export function Icon({ name, class: c = '' }: { name: string; class?: string }) {
  return (
    <svg class={'i ' + c} viewBox="0 0 16 16" aria-hidden="true">
      <path d={lines[name]} />
    </svg>
  )
}

// Kinds of states, as the colours know them.
export type Kind = 'ok' | 'run' | 'bad' | 'hit' | 'odd' | 'wait' | 'skip' | 'ask'

export function Shape({ kind }: { kind: Kind }) {
  const cut = { stroke: 'var(--surface)', 'stroke-width': 1.7 }
  return (
    <svg class={`i s-${colour(kind)} ${kind === 'run' ? 'spin' : ''}`} viewBox="0 0 16 16" aria-hidden="true">
      {kind === 'ok' && [<circle cx="8" cy="8" r="6.4" class="full" />, <path d="m5.2 8.2 2 2 3.8-4.2" {...cut} />]}
      {kind === 'run' && [<circle cx="8" cy="8" r="5.6" stroke-opacity=".28" stroke-width="2.2" />, <path d="M8 2.4a5.6 5.6 0 0 1 5.6 5.6" stroke-width="2.2" />]}
      {kind === 'bad' && [<path d="M5.3 1.6h5.4l3.7 3.7v5.4l-3.7 3.7H5.3l-3.7-3.7V5.3z" class="full" />, <path d="m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4" {...cut} />]}
      {kind === 'wait' && <circle cx="8" cy="8" r="5.6" stroke-dasharray="2.2 2.2" />}
      {kind === 'hit' && [<circle cx="8" cy="8" r="6.4" class="full" />, <path d="M8.9 3.8 5.4 8.6h2.3l-.6 3.6 3.5-4.8H8.3z" fill="var(--surface)" stroke="none" />]}
      {kind === 'odd' && [<path d="M8 1.6 14.6 13.2H1.4z" class="full" />, <path d="M8 6v3.4M8 11.4v.1" {...cut} />]}
      {kind === 'skip' && [<circle cx="8" cy="8" r="5.6" />, <path d="M5.4 8h5.2" />]}
      {kind === 'ask' && [<path d="M8 2.2 3 4v4c0 3 2.2 5 5 5.8 2.8-.8 5-2.8 5-5.8V4z" />, <path d="m5.9 7.9 1.5 1.5 2.8-2.9" />]}
    </svg>
  )
}

export const colour = (kind: Kind) => (kind === 'skip' ? 'wait' : kind === 'ask' ? 'odd' : kind)

const runKinds: Record<RunState, [Kind, string]> = {
  waiting: ['wait', 'Waiting'],
  running: ['run', 'Running'],
  cancelling: ['skip', 'Cancelling'],
  succeeded: ['ok', 'Succeeded'],
  succeeded_with_warnings: ['odd', 'With warnings'],
  failed: ['bad', 'Failed'],
  cancelled: ['skip', 'Cancelled'],
}

export const ofRun = (s: RunState): [Kind, string] => runKinds[s] ?? ['wait', s]

const moduleKinds: Record<ModuleState, [Kind, string]> = {
  waiting: ['wait', 'waiting'],
  running: ['run', 'running'],
  succeeded: ['ok', 'succeeded'],
  failed: ['bad', 'failed'],
  skipped: ['skip', 'skipped'],
  cancelled: ['skip', 'cancelled'],
  cached: ['hit', 'cached'],
}

export const ofModule = (s: ModuleState): [Kind, string] => moduleKinds[s] ?? ['wait', s]

const attemptKinds: Record<AttemptState, Kind> = { assigned: 'run', running: 'run', succeeded: 'ok', failed: 'bad', timed_out: 'bad', cancelled: 'skip', lost: 'odd', superseded: 'odd' }

// wasLost is whether an attempt was given up with its worker, also if that reported later
// how it had ended.
export const wasLost = (s: AttemptState): boolean => s === 'lost' || s === 'superseded'

export const ofAttempt = (s: AttemptState): [Kind, string] => [attemptKinds[s] ?? 'wait', s.replace('_', ' ')]

export function Brand() {
  return (
    <svg viewBox="0 0 20 20" aria-hidden="true">
      <rect width="20" height="20" rx="6" fill="var(--ink)" />
      <path d="M5 7h4.2a2 2 0 0 1 2 2v2a2 2 0 0 0 2 2H15" fill="none" stroke="var(--surface)" stroke-width="1.8" stroke-linecap="round" />
      <circle cx="5" cy="7" r="1.7" fill="var(--surface)" />
      <circle cx="15" cy="13" r="1.7" fill="var(--surface)" />
    </svg>
  )
}
