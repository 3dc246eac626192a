// The documents of the API that the pages show (docs/http.md).

export type RunState = 'waiting' | 'running' | 'cancelling' | 'succeeded' | 'succeeded_with_warnings' | 'failed' | 'cancelled'
export type ModuleState = 'waiting' | 'running' | 'succeeded' | 'failed' | 'skipped' | 'cancelled' | 'cached'
export type AttemptState = 'assigned' | 'running' | 'succeeded' | 'failed' | 'timed_out' | 'cancelled' | 'lost' | 'superseded'

export interface RunLink {
  id: string
  number: number
}

export interface RunSummary {
  id: string
  number: number
  pipeline: string
  state: RunState
  reason?: string
  submitter?: string
  submittedAt: string
  startedAt?: string
  finishedAt?: string
  idleSeconds?: number
  schedule?: string
  tick?: string
  trigger?: 'manual' | 'backfill'
  retryOf?: RunLink & { variables?: string[] }
  retriedAs?: RunLink[]
  parent?: { run: string; number: number; module: string }
  git?: { sha?: string; branch?: string; tag?: string; dirty?: boolean }
  moduleCount: number
  modulesDone: number
  modulesCached?: number
  modulesFailed?: number
  modulesRunning?: number
  approvals?: number
  notices?: Notification[]
  pinned?: boolean
  artifactsGone?: boolean
  logsGone?: boolean
}

// Notification is what became of a notification to a webhook.
export interface Notification {
  name: string
  event: string
  webhook: string
  state: 'waiting' | 'delivered' | 'given up' | 'not sent'
  reason?: string
  at: string
}

export interface Attempt {
  number: number
  worker: string
  state: AttemptState
  reason: string
  exitCode: number | null
  assignedAt?: string
  startedAt: string | null
  finishedAt: string | null
  logSize: number
  image?: string
}

export interface Approval {
  message: string
  approvers?: string[]
  since?: string
  deadline?: string
  decision?: string
  by?: string
  comment?: string
}

export interface ChildRun {
  run: string
  number: number
  state: RunState
  reason?: string
  startedAt?: string
  finishedAt?: string
}

export interface Module {
  name: string
  of?: string
  state: ModuleState
  reason?: string
  worker: string
  dependsOn?: string[]
  exitCode: number | null
  outputs: string[] | null
  outputCount?: number
  outputBytes?: number
  startedAt?: string
  finishedAt?: string
  durationSeconds?: number
  expectedSeconds?: number
  notBefore?: string
  approval?: Approval
  pipeline?: string
  children?: ChildRun[]
  attempts: Attempt[]
  tests?: { total: number; passed: number; failed: number; skipped: number; flaky: number }
  warnings?: string[]
  cachedFrom?: { run: string; module: string; attempt: number; worker: string; durationSeconds: number }
}

export interface Run extends RunSummary {
  modules: Module[]
  index: number
}

export interface Health {
  status: string
  node: string
  role: string
  leader: string
  term: number
  commitIndex: number
  appliedIndex: number
  quorum: boolean
  voters: string[]
  availableWorkers: number
  currentLoad: number
  maxLoad: number
  version: string
  timestamp: string
  reasons: string[] | null
  blobs?: { blobs: number; bytes: number; at: string }
}

export interface Member {
  id: string
  name: string
  addr: string
  http: string
  peer: string
  gossip: string
  mode: string
  status: string
  role: string
  draining?: boolean
  version?: string
  maxLoad: number
  currentLoad: number
  awayUntil?: string
  clockAheadSeconds?: number
}

export interface MemberList { clusterId: string; leader: string; members: Member[] }

export interface RaftInfo {
  term: number
  commitIndex: number
  appliedIndex: number
  lastIndex: number
  leader: string
  servers: { id: string; name: string; address: string; suffrage: string; leader?: boolean }[]
}

export interface WorkerNode {
  id: string
  name?: string
  endpoint: string
  currentLoad: number
  status: string
  external?: boolean
  reserved?: { cpu?: number; memory?: number }
  capabilities: { os?: string; maxParallelModules?: number; tags?: string[]; cpu?: number; memory?: number; containerEngine?: string }
}

export interface Schedule { name: string; cron: string[]; timezone: string; paused: boolean; next: string | null }
export interface LockUser { run: string; module: string; worker?: string; limit: number; since: string }
export interface Lock { key: string; limit: number; holders: LockUser[]; waiters: LockUser[] }
export interface Artifact { module: string; path: string; size: number; digest?: string; link?: string }
export interface WhyModule { name: string; state: ModuleState; because: string[] }

export interface Who { name: string; role: 'read' | 'submit' | 'admin' | 'worker'; expiresAt?: string; node?: string; addresses?: string[] }

export interface Problem { status: number; kind: string; detail?: string; title?: string }

// Event is one of docs/events.md.
export interface Event {
  id: string
  index: number
  name: string
  time: string
  text: string
  run?: string
  number?: number
  module?: string
  attempt?: number
  node?: string
  reason?: string
  data?: { state?: string; term?: number; gapMs?: number; previous?: string }
}
export interface EventList { index: number; events: Event[] }

export interface Sight { node: string; status: string; roundTripSeconds?: number; hears?: boolean }
export interface NodeReport {
  id: string
  name: string
  missing?: string
  startedAt?: string
  disk?: { freeBytes: number; totalBytes: number; blobBytes?: number }
  gossipHealth?: number
  lag?: number
  sees?: Sight[]
  commits?: CommitTimes
  underReplicated?: number
}
export interface CommitTimes { count: number; medianSeconds: number; p99Seconds: number }
export interface NodeReports { nodes: NodeReport[]; findings: string[] }
export interface Waiting { run: string; number: number; pipeline: string; modules: string[]; count: number; kind: string; reason: string; since: string }
export interface Running { run: string; number: number; pipeline: string; module: string; attempt: number; node: string; assignedAt: string; startedAt?: string }
export interface WaitingList { waiting: Waiting[]; modules: Record<string, number> }
