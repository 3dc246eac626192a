// Calls of the API, at whichever node answers. The page came from one node and
// continues at the other members when that one is gone.
import { signal } from '@preact/signals'
import type { Problem } from './types'

export const token = signal(sessionStorage.getItem('token') ?? '')

// nodes are the members' origins, the one to ask next first.
export const nodes = signal<string[]>([location.origin])
// node is the name of the node that answered last, answered when that was.
export const node = signal('')
export const answered = signal(Date.now())
// away is why no node answers now; '' if one does.
export const away = signal('')

// silenceLimit is how long a call may be silent, in milliseconds; then another node
// is asked. A node whose machine is gone refuses nothing.
const silenceLimit = 3000

// A browser has six connections to a node over HTTP/1.1 for all its tabs together, and
// the next call waits for one: a page that is not seen keeps none open.
let hiding = new AbortController()
if (document.hidden) hiding.abort()
document.addEventListener('visibilitychange', () => {
  if (document.hidden) hiding.abort()
  else hiding = new AbortController()
})
// whileSeen is aborted with a signal, and when the page is hidden.
export const whileSeen = (stop: AbortSignal) => AbortSignal.any([stop, hiding.signal])

// seen waits until the page is visible, at most for some ms.
export function seen(most: number): Promise<void> {
  return new Promise((done) => {
    const end = AbortSignal.timeout(most)
    end.addEventListener('abort', () => done())
    document.addEventListener('visibilitychange', () => done(), { once: true, signal: end })
  })
}

export class Refused extends Error {
  constructor(readonly status: number, readonly kind: string, detail: string) {
    super(detail)
  }
}

export function setToken(t: string) {
  token.value = t
  if (t) sessionStorage.setItem('token', t)
  else sessionStorage.removeItem('token')
}

// setSignedIn takes the token that a sign-in made for this tab.
export function setSignedIn(t: string) {
  sessionStorage.setItem('signedIn', t)
  setToken(t)
}

// signOut revokes the token if a sign-in made it; any other one stays valid, and is
// forgotten here.
export async function signOut() {
  if (token.value && sessionStorage.getItem('signedIn') === token.value) await ask('/api/v1/signin', { method: 'DELETE' }).catch(() => {})
  sessionStorage.removeItem('signedIn')
  setToken('')
}

// gone are nodes that did not answer when they were asked last. They are asked again only
// if no other one answers: the browser writes each call that fails to its console.
const gone = new Set<string>()

// setNodes takes the members' addresses, and keeps asking the node that answers.
export function setNodes(origins: string[]) {
  const now = nodes.value[0]
  const all = [now, ...origins.filter((o) => o !== now)]
  if (!all.includes(location.origin)) all.push(location.origin)
  arrange(all)
}

function arrange(all: string[]) {
  all = [...all.filter((o) => !gone.has(o)), ...all.filter((o) => gone.has(o))]
  if (all.join() !== nodes.value.join()) nodes.value = all
}

// leave turns to the next node, unless another call has already left this one.
export function leave(origin: string, silent = false) {
  if (silent) gone.add(origin)
  const [first, ...rest] = nodes.value
  arrange(first === origin ? [...rest, first] : nodes.value)
}

export interface Options {
  method?: string
  body?: unknown
  signal?: AbortSignal
  headers?: Record<string, string>
  // wait is how long the answer may take beyond the time of a call, in ms.
  wait?: number
}

// ask makes a call at the first node that answers it. A call that changes
// something has a key, so that it may be repeated.
export async function ask(path: string, o: Options = {}): Promise<Response> {
  const method = o.method ?? 'GET'
  const headers: Record<string, string> = { ...o.headers }
  if (token.value) headers.Authorization = 'Bearer ' + token.value
  if (o.body !== undefined) headers['Content-Type'] = 'application/json'
  if (method === 'POST') headers['Idempotency-Key'] = randomKey()

  let last: unknown = new Error('no node is known')
  for (const origin of [...nodes.value]) {
    if (last instanceof Refused && gone.has(origin)) break // those after it are gone too
    const timer = new AbortController()
    const timeout = setTimeout(() => timer.abort(new Error('silent')), silenceLimit + (o.wait ?? 0))
    try {
      const signals = o.signal ? [timer.signal, o.signal] : [timer.signal]
      const answer = await fetch(origin + path, {
        method,
        headers,
        body: o.body === undefined ? undefined : JSON.stringify(o.body),
        signal: AbortSignal.any(signals),
        cache: 'no-store',
      })
      if (answer.ok) {
        heard(origin, answer)
        return answer
      }
      const refused = await refusal(answer)
      if (refused.status !== 503) {
        heard(origin, answer)
        throw refused
      }
      last = refused
      gone.delete(origin)
    } catch (e) {
      if (e instanceof Refused || o.signal?.aborted) throw e
      last = e
      gone.add(origin)
    } finally {
      clearTimeout(timeout)
    }
    leave(origin)
  }
  away.value = last instanceof Refused ? last.message : 'no node answers'
  throw last
}

function heard(origin: string, answer: Response) {
  gone.delete(origin)
  node.value = answer.headers.get('X-Pipelined-Node') ?? new URL(origin).host
  answered.value = Date.now()
  away.value = ''
}

async function refusal(answer: Response): Promise<Refused> {
  const problem: Partial<Problem> = await answer.json().catch(() => ({}))
  return new Refused(answer.status, problem.kind ?? '', problem.detail ?? `${answer.status} ${answer.statusText}`)
}

export async function json<T>(path: string, o: Options = {}): Promise<T> {
  return (await ask(path, o)).json()
}

// A page that did not come over TLS or loopback has no crypto.randomUUID.
export function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('')
}

export interface ServerEvent { id: string; event: string; data: string }

// events reads server-sent events until the stream ends. It is no EventSource:
// that cannot send a token.
export async function* events(answer: Response, silence: number): AsyncGenerator<ServerEvent> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader()
  let buffer = ''
  try {
    for (;;) {
      let timeout: ReturnType<typeof setTimeout> | undefined
      const silent = new Promise<never>((_, reject) => (timeout = setTimeout(() => reject(new Error('silent')), silence)))
      const { value, done } = await Promise.race([reader.read(), silent]).finally(() => clearTimeout(timeout))
      if (done) return
      answered.value = Date.now()
      buffer += value
      for (let end; (end = buffer.indexOf('\n\n')) >= 0; ) {
        const event = { id: '', event: 'message', data: '' }
        for (const line of buffer.slice(0, end).split('\n')) {
          const colon = line.indexOf(': ')
          const name = line.slice(0, colon)
          if (name === 'id' || name === 'event' || name === 'data') event[name] = line.slice(colon + 2)
        }
        buffer = buffer.slice(end + 2)
        if (event.data) yield event
      }
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}
