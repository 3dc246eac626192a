// How long the runs of a pipeline took, and how they ended.
import { count, duration } from './format'
import { colour, ofRun } from './icons'
import type { RunState } from './types'

interface Point { id: string; number: number; state: RunState; seconds?: number }

// Trend is a bar for each run, the oldest first: height is how long it took, colour how it
// ended. list has the newest run first.
export function Trend({ list, of, size = '' }: { list: Point[]; of: string; size?: '' | 'small' | 'tall' }) {
  const longest = Math.max(...list.map((r) => r.seconds ?? 0), 0.001)
  const failed = list.filter((r) => r.state === 'failed').length
  const text = `Durations of the last ${count(list.length, 'run')} of ${of}: the longest ${duration(longest)}, ${failed} failed`
  return (
    <div class={'trend ' + size} role="img" aria-label={text}>
      {[...list].reverse().map((r) => (
        <i key={r.id} class={colour(ofRun(r.state)[0])} style={{ height: `${Math.max(6, ((r.seconds ?? 0) / longest) * 100)}%` }} title={`${r.number}: ${ofRun(r.state)[1]}${r.seconds !== undefined ? ', ' + duration(r.seconds) : ''}`} />
      ))}
    </div>
  )
}
