// A log with its search, its times and links to its lines.
import { useEffect, useRef, useState } from 'preact/hooks'
import type { ComponentChildren } from 'preact'
import { plain } from './ansi'
import { Refused } from './api'
import { count } from './format'
import { Icon } from './icons'
import { LogPages } from './logpages'
import { LogSource } from './logsource'
import { LogView, type Found, type Query, type Source, type Times } from './logview'
import { copy, save, say } from './parts'
import { go, place, withQuery } from './route'

export interface LogKeys { follow: () => void; times: () => void }

const nextTimes: Record<Times, Times> = { none: 'relative', relative: 'absolute', absolute: 'none' }
const chosenTimes = (): Times => (['none', 'absolute'] as const).find((t) => t === place.value.query.get('times')) ?? 'relative'
const timesOf: Record<Times, string> = { none: 'no times', relative: 'times since the start', absolute: 'times of day' }

// linesIn reads #L210 and #L210-L214.
function linesIn(hash: string): [number, number] | null {
  const m = /^#L(\d+)(?:-L(\d+))?$/.exec(hash)
  return m ? [Number(m[1]), Number(m[2] ?? m[1])] : null
}

interface Props {
  run: string
  module?: string
  attempt?: number
  last?: number // of a whole run, how many lines of each module are shown first
  start: number // what relative times count from, in seconds
  command: string
  keys: { current: LogKeys | null }
  empty: ComponentChildren
  beside?: boolean // another log is beside it: the address is that one's
}

export function LogPane({ run, module, attempt, last = 500, start, command, keys, empty, beside }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const view = useRef<LogView | undefined>(undefined)
  const source = useRef<Source | undefined>(undefined)
  const [follows, setFollows] = useState(true)
  const [, turn] = useState(0)
  const times = chosenTimes()
  const [whole, setWhole] = useState('')

  useEffect(() => {
    const s: Source = module === undefined ? new LogSource(run, last) : new LogPages(run, module, attempt)
    const v = new LogView(box.current!, s)
    source.current = s
    view.current = v
    v.times = times
    v.start = start
    setFollows(true)
    v.onFollow = setFollows
    v.onMore = (n) => s.whole(n).then(setWhole, (e) => e.name === 'AbortError' || say(e.message, true))
    if (!beside) v.onSelect = (a, b) => go(`${location.pathname}${location.search}#L${a}${b > a ? `-L${b}` : ''}`, true)

    let wanted = beside ? null : linesIn(place.peek().hash)
    if (wanted) v.selected = wanted
    s.onChange = () => {
      if (wanted && s.count >= wanted[0]) {
        v.to(wanted[0])
        wanted = null
      }
      turn((n) => n + 1)
      v.update()
    }
    return () => {
      s.close()
      v.close()
    }
  }, [run, module, attempt])

  useEffect(() => {
    view.current!.start = start
    view.current!.times = times
    view.current!.redraw()
  }, [start, times])

  keys.current = {
    follow: () => view.current?.setFollow(!view.current.follows), // a key may be earlier than the view
    times: () => {
      const next = nextTimes[times]
      go(withQuery({ times: next === 'relative' ? null : next }) + location.hash, true)
    },
  }

  const s = source.current
  const lines = s?.count ?? 0
  const groups = s?.groups.list ?? []
  const folded = groups.some((g) => g.closed)
  const state = s?.ended ? count(lines, 'line') : s?.failed ? 'reconnecting: ' + s.failed : follows ? 'follows' : 'does not follow'
  return (
    <div class="log">
      <div class="logbar">
        <Search source={s} view={view.current} lines={lines} addressed={!beside} />
        <span class="grow" />
        {groups.length > 0 && (
          <button
            class="btn"
            onClick={() => {
              s!.groups.turnAll(!folded)
              view.current!.update()
              turn((n) => n + 1)
            }}
          >
            {folded ? 'Unfold' : 'Fold'}
          </button>
        )}
        <button class="btn icon ghost" title={timesOf[times]} aria-label={`Times: ${timesOf[times]}; change`} onClick={keys.current.times}>
          <Icon name="clock" />
        </button>
        {!beside && (
          <button class="btn icon ghost" title="Copy a link to the selected lines" aria-label="Copy a link to the selected lines" onClick={() => copy(location.href, 'Copied the link')}>
            <Icon name="link" />
          </button>
        )}
        <button class="btn icon ghost" title="Download" aria-label={module === undefined ? 'Download what is shown' : 'Download the output'} onClick={() => download(s!, module ?? 'run')}>
          <Icon name="download" />
        </button>
      </div>
      <div ref={box} class="lines mono" role="log" aria-label={module ? `Output of ${module}` : 'Output of all modules'} aria-live="off" tabIndex={0} />
      {lines === 0 && <div class="nolines">{s?.ended ? 'It wrote nothing.' : s?.ready ? empty : 'Asking the cluster'}</div>}
      <div class="logend">
        <button class="follow" aria-pressed={follows} onClick={keys.current.follow}>
          <i class={'pulse' + (s?.ended ? ' off' : s?.failed ? ' odd' : follows ? '' : ' off')} />
          {state}
        </button>
        <span class="grow" />
        <code class="hide-s">{command}</code>
        <button class="btn icon ghost hide-s" aria-label={'Copy: ' + command} onClick={() => copy(command)}>
          <Icon name="copy" />
        </button>
      </div>
      <Whole text={whole} close={() => setWhole('')} />
    </div>
  )
}

// searched is the search that is in the address.
function searched(): Query {
  const q = place.value.query
  return { text: q.get('find') ?? '', exact: q.has('case'), regexp: q.has('regexp') }
}

// Search finds lines on the node, or goes to the line of a number.
function Search({ source, view, lines, addressed }: { source?: Source; view?: LogView; lines: number; addressed: boolean }) {
  const [query, setQuery] = useState<Query>(addressed ? searched : { text: '' })
  const [found, setFound] = useState<Found | null>(null)
  const [at, setAt] = useState(0)
  const [wrong, setWrong] = useState('')
  const asked = useRef(0)

  const show = (f: Found, i: number) => {
    setAt(i)
    view!.to(f.lines[i])
    view!.selected = [f.lines[i], f.lines[i]]
    view!.redraw()
  }
  const search = async (q: Query) => {
    setQuery(q)
    const id = ++asked.current
    view!.found = q.regexp || q.text.startsWith(':') ? '' : q.text
    view!.redraw()
    setWrong('')
    if (q.text.startsWith(':') && Number(q.text.slice(1)) > 0) {
      const line = Math.min(Number(q.text.slice(1)), lines)
      setFound(null)
      view!.selected = [line, line]
      view!.to(line)
      view!.redraw()
      return
    }
    if (addressed) go(withQuery({ find: q.text, case: q.exact ? '1' : null, regexp: q.regexp ? '1' : null }) + location.hash, true)
    if (!q.text) {
      setFound(null)
      return
    }
    for (let failures = 0; id === asked.current; failures++) {
      try {
        const f = await source!.find(q)
        if (id !== asked.current) return
        setFound(f)
        setWrong('')
        // The first one from what is in sight on.
        if (f.lines.length) show(f, Math.max(0, f.lines.findIndex((n) => n >= view!.first)))
        return
      } catch (e) {
        if (id !== asked.current || (e as Error).name === 'AbortError') return
        setWrong((e as Error).message)
        if (e instanceof Refused ? e.status < 500 : e instanceof SyntaxError) return
        await new Promise((r) => setTimeout(r, Math.min(5000, 250 * 2 ** failures)))
      }
    }
  }
  const step = async (by: number) => {
    if (!found?.lines.length) return
    let f = found
    let next = at + by
    if (next >= f.lines.length && f.next) {
      const more = await source!.find(query, f.next).catch(() => null)
      if (!more) return
      f = { ...f, lines: [...f.lines, ...more.lines], next: more.next }
      setFound(f)
    }
    next = (next + f.lines.length) % f.lines.length
    show(f, next)
  }
  // A search that is in the address begins when there are lines.
  const ready = !!source && lines > 0
  useEffect(() => {
    if (ready && query.text && !found) search(query)
  }, [ready])

  const turn = (what: 'exact' | 'regexp') => () => search({ ...query, [what]: !query[what] })
  const total = found ? found.total.toLocaleString('en') + (found.complete ? '' : ' or more') : ''
  return (
    <>
      <label class="find small">
        <Icon name="search" />
        <span class="sr">Search in the log</span>
        <input
          type="search"
          placeholder="Search, or :line"
          value={query.text}
          onInput={(e) => search({ ...query, text: e.currentTarget.value })}
          onKeyDown={(e) => e.key === 'Enter' && (e.preventDefault(), step(e.shiftKey ? -1 : 1))}
        />
        <span class="hits" role="status">
          {wrong ? 'no search' : found && (found.lines.length ? `${(at + 1).toLocaleString('en')} of ${total}` : 'none')}
        </span>
      </label>
      <button class="btn icon ghost" title="Case matters" aria-label="Case matters" aria-pressed={!!query.exact} onClick={turn('exact')}>
        Aa
      </button>
      <button class="btn icon ghost" title={wrong || 'Regular expression'} aria-label="Regular expression" aria-pressed={!!query.regexp} onClick={turn('regexp')}>
        .*
      </button>
    </>
  )
}

// Whole is a line that is too long for a row.
function Whole({ text, close }: { text: string; close: () => void }) {
  const box = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    if (text) box.current!.showModal()
  }, [text])
  const most = 1_000_000
  return (
    <dialog ref={box} class="ask whole-line" aria-label="The whole line" onClose={close}>
      {text && (
        <form method="dialog">
          <pre class="mono" tabIndex={0}>
            {plain(text.slice(0, most))}
            {text.length > most && ` … and ${(text.length - most).toLocaleString('en')} more characters: download the output`}
          </pre>
          <div class="row">
            <button type="button" class="btn" onClick={() => copy(plain(text), 'Copied the line')}>
              Copy
            </button>
            <button class="btn pri">Close</button>
          </div>
        </form>
      )}
    </dialog>
  )
}

async function download(source: Source, name: string) {
  try {
    save(await source.all(), name.replace(/[^\w.-]+/g, '_') + '.log')
  } catch (e) {
    say((e as Error).message, true)
  }
}
