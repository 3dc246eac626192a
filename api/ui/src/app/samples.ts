// What this page has seen of the cluster over time: the load of each node, and how long
// commits took. Nothing is stored; another page begins anew.
import { signal } from '@preact/signals'
import { answered } from './api'
import { members, now } from './store'
import type { CommitTimes } from './types'

// span is how long a sample is kept, and every how often one is taken, in seconds.
export const span = 15 * 60
const every = 5

export interface Sample { at: number; value: number }

// sampled counts what was taken, so that what shows samples is drawn anew.
export const sampled = signal(0)
const loads = new Map<string, Sample[]>()
export const loadOf = (name: string): Sample[] => loads.get(name) ?? []

export interface CommitSample { at: number; median: number; p99: number }
export const commits = signal<CommitSample[]>([])

const young = (s: { at: number }) => s.at > now.peek() - span

setInterval(() => {
  if (!members.peek() || Date.now() - answered.peek() > every * 1000) return
  for (const m of members.peek()!.members) {
    loads.set(m.name, [...loadOf(m.name).filter(young), { at: now.peek(), value: m.currentLoad }])
  }
  sampled.value++
}, every * 1000)

export function noteCommits(t?: CommitTimes) {
  if (t) commits.value = [...commits.peek().filter(young), { at: now.peek(), median: t.medianSeconds, p99: t.p99Seconds }]
}

// pieces are rows of samples without a gap between them: nothing is known of a time in
// which the page was hidden or got no answer.
export function pieces<T extends { at: number }>(list: T[], gap: number): T[][] {
  const out: T[][] = []
  for (const s of list) {
    const last = out.at(-1)
    if (last && s.at - last.at(-1)!.at <= gap) last.push(s)
    else out.push([s])
  }
  return out
}
