// A log with its search, its times and links to its lines.
import { useEffect, useRef, useState } from 'preact/hooks'
import type { ComponentChildren } from 'preact'
import { plain } from './ansi'
import { count } from './format'
import { Icon } from './icons'
import { LogSource } from './logsource'
import { LogView, type Times } from './logview'
import { copy } from './parts'
import { go, place } from './route'

export interface LogKeys { follow: () => void; times: () => void }

const nextTimes: Record<Times, Times> = { none: 'relative', relative: 'absolute', absolute: 'none' }
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
  start: number // what relative times count from, in seconds
  command: string
  keys: { current: LogKeys | null }
  empty: ComponentChildren
}

export function LogPane({ run, module, attempt, start, command, keys, empty }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const view = useRef<LogView | undefined>(undefined)
  const source = useRef<LogSource | undefined>(undefined)
  const [follows, setFollows] = useState(true)
  const [lines, setLines] = useState(0)
  const [state, setState] = useState('')
  const [found, setFound] = useState<number[]>([])
  const [at, setAt] = useState(0)
  const [times, setTimes] = useState<Times>('relative')

  useEffect(() => {
    const s = new LogSource({ run, module, attempt })
    const v = new LogView(box.current!, s)
    source.current = s
    view.current = v
    v.times = times
    setFound([])
    setLines(0)
    setFollows(true)
    v.onFollow = setFollows
    v.onSelect = (a, b) => go(`${location.pathname}${location.search}#L${a}${b > a ? `-L${b}` : ''}`, true)

    let wanted = linesIn(place.peek().hash)
    if (wanted) v.selected = wanted
    s.onChange = () => {
      if (wanted && s.count >= wanted[1]) {
        v.to(wanted[0])
        wanted = null
      }
      setLines(s.count)
      setState(s.failed ? 'reconnecting: ' + s.failed : s.ended ? 'ended' : '')
      v.update()
    }
    return () => {
      s.close()
      v.close()
    }
  }, [run, module, attempt])

  useEffect(() => {
    view.current!.start = start
    view.current!.redraw()
  }, [start])

  const search = (text: string) => {
    const v = view.current!
    v.found = text
    const hits = text ? source.current!.search(text, plain) : []
    setFound(hits)
    setAt(0)
    if (hits.length) v.to(hits[0])
    v.redraw()
  }
  const step = (by: number) => {
    if (!found.length) return
    const next = (at + by + found.length) % found.length
    setAt(next)
    view.current!.to(found[next])
  }
  keys.current = {
    follow: () => view.current!.setFollow(!view.current!.follows),
    times: () => {
      const next = nextTimes[times]
      setTimes(next)
      view.current!.times = next
      view.current!.redraw()
    },
  }

  return (
    <div class="log">
      <div class="logbar">
        <label class="find small">
          <Icon name="search" />
          <span class="sr">Search in the log</span>
          <input
            type="search"
            placeholder="Search the log"
            onInput={(e) => search(e.currentTarget.value)}
            onKeyDown={(e) => e.key === 'Enter' && (e.preventDefault(), step(e.shiftKey ? -1 : 1))}
          />
          {view.current?.found && <span class="hits">{found.length ? `${at + 1} of ${found.length}` : 'none'}</span>}
        </label>
        <span class="grow" />
        <button class="btn icon ghost" title={timesOf[times]} aria-label={`Times: ${timesOf[times]}; change`} onClick={keys.current.times}>
          <Icon name="clock" />
        </button>
        <button class="btn icon ghost" title="Copy a link to the selected lines" aria-label="Copy a link to the selected lines" onClick={() => copy(location.href, 'Copied the link')}>
          <Icon name="link" />
        </button>
        <button class="btn icon ghost" title="Download" aria-label="Download what is shown" onClick={() => download(source.current!, module ?? 'run')}>
          <Icon name="download" />
        </button>
      </div>
      <div ref={box} class="lines mono" role="log" aria-label={module ? `Output of ${module}` : 'Output of all modules'} aria-live="off" tabIndex={0} />
      {lines === 0 && <div class="nolines">{state === 'ended' ? 'It wrote nothing.' : empty}</div>}
      <div class="logend">
        <button class="follow" aria-pressed={follows} onClick={keys.current.follow}>
          <i class={'pulse' + (state === 'ended' ? ' off' : state ? ' odd' : follows ? '' : ' off')} />
          {state === 'ended' ? count(lines, 'line') : state || (follows ? 'follows' : 'does not follow')}
        </button>
        <span class="grow" />
        <code class="hide-s">{command}</code>
        <button class="btn icon ghost hide-s" aria-label={'Copy: ' + command} onClick={() => copy(command)}>
          <Icon name="copy" />
        </button>
      </div>
    </div>
  )
}

function download(source: LogSource, name: string) {
  const all: string[] = []
  for (let n = 1; n <= source.count; n++) {
    const line = source.get(n)!
    all.push(line.module === undefined ? line.text : `${line.module} | ${line.text}`)
  }
  save(new Blob([all.join('\n') + '\n'], { type: 'text/plain' }), name.replace(/[^\w.-]+/g, '_') + '.log')
}

export function save(content: Blob, name: string) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(content)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60000)
}
