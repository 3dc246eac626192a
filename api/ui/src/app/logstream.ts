// The output of a run as a stream of pieces.
import { ask, events, leave, randomKey, seen, whileSeen } from './api'

export interface Piece { module: string; attempt: number; offset: number; text?: string; raw?: string; time?: string; end?: boolean }

// follow gives the pieces of a run's output as they come, after what positions have, until
// the stream ends or the page is hidden; it begins once the page is seen. It returns true
// if all has been sent, or take returned true.
export async function follow(run: string, what: { modules?: string[]; lines?: number; positions?: object }, stop: AbortSignal, opened: () => void, take: (p: Piece) => boolean | void): Promise<boolean> {
  while (document.hidden && !stop.aborted) await seen(60000)
  const looked = whileSeen(stop)
  let from = '' // the node whose stream is read
  try {
    const answer = await ask(`/api/v1/runs/${encodeURIComponent(run)}/logs`, {
      method: 'POST',
      headers: { 'X-Request-Id': randomKey() },
      body: { follow: true, times: true, ...what },
      signal: looked,
    })
    from = new URL(answer.url).origin
    opened()
    for await (const e of events(answer, 15000)) {
      if (e.event === 'run-end') return true
      if (e.event === 'bye') leave(from, true)
      if (e.event === 'error') {
        from = '' // it answers
        throw new Error((JSON.parse(e.data) as { detail?: string }).detail)
      }
      if ((e.event === 'log' || e.event === 'end') && take(JSON.parse(e.data) as Piece)) return true
    }
  } catch (e) {
    if (!stop.aborted && looked.aborted) return false
    if (from && !stop.aborted) leave(from, true) // the stream was cut
    throw e
  }
  return false
}

// sizeOf is how many bytes of the output a piece is. Bytes that are no UTF-8 come a second
// time, as they are.
export const sizeOf = (p: Piece) => (p.raw ? atob(p.raw).length : new TextEncoder().encode(p.text ?? '').length)
