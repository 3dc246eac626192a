// When the modules of a run are expected to end, by what each waits for.
import { signal } from '@preact/signals'
import { seconds } from './format'
import type { Graph } from './graph'
import type { Module, RunSummary } from './types'

// needs are the modules that each module of a run waits for, once a graph of it was read.
const needs = signal<{ run: string; of: Map<string, string[]> }>({ run: '', of: new Map() })

export function putNeeds(run: string, g: Graph) {
  const sets = g.sets.map((set) => set.map((i) => g.modules[i].name))
  needs.value = { run, of: new Map(g.modules.map((m) => [m.name, sets[m.needs] ?? []])) }
}

const none = new Map<string, string[]>()

export const needsIn = (run: string) => (needs.value.run === run ? needs.value.of : none)

// Times gives when modules can begin and will have ended, in seconds.
export class Times {
  private ends = new Map<string, number>()
  private ready = new Map<string[], number>() // modules of a block share what they wait for
  private by: Map<string, Module>
  private needs: Map<string, string[]>

  constructor(run: string, list: Module[], private begun: number, private at: number) {
    this.by = new Map(list.map((m) => [m.name, m]))
    this.needs = needsIn(run)
  }

  end(name: string): number {
    const known = this.ends.get(name)
    if (known !== undefined) return known
    this.ends.set(name, this.begun) // a cycle is none
    const m = this.by.get(name)
    let end = this.begun
    if (m?.finishedAt) end = seconds(m.finishedAt)
    else if (m?.state === 'running' && m.startedAt) end = Math.max(this.at, seconds(m.startedAt) + (m.expectedSeconds ?? 0))
    else if (m) end = Math.max(this.at, this.readyAt(name)) + (m.expectedSeconds ?? 0)
    this.ends.set(name, end)
    return end
  }

  readyAt(name: string): number {
    const set = this.needs.get(name)
    if (!set) return this.begun
    const known = this.ready.get(set)
    if (known !== undefined) return known
    const at = set.reduce((t, n) => Math.max(t, this.end(n)), this.begun)
    this.ready.set(set, at)
    return at
  }
}

// expectedEnd is when the last module ends; whole says that it is known of each how long
// it takes, and what it waits for.
export function expectedEnd(r: RunSummary, list: Module[], at: number): { at: number; whole: boolean } {
  const times = new Times(r.id, list, seconds(r.startedAt ?? r.submittedAt), at)
  const open = list.filter((m) => m.state === 'waiting' || m.state === 'running')
  return {
    at: open.reduce((t, m) => Math.max(t, times.end(m.name)), at),
    whole: open.length > 0 && open.every((m) => m.expectedSeconds && (m.state === 'running' || needsIn(r.id).has(m.name))),
  }
}
