// What is in a file that a module left: text, JSON, a picture, or a page. A page is
// shown in a frame in which no script runs and which fetches nothing: what it needs of
// the module's other files is put into it.
import { useEffect, useRef, useState } from 'preact/hooks'
import { ask } from './api'
import { bytes } from './format'
import { Blank } from './parts'
import { runPath } from './run'
import type { Artifact, RunSummary } from './types'

const mostText = 1_000_000
const mostPage = 5_000_000

const pictures: Record<string, string> = { png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg', gif: 'image/gif', webp: 'image/webp', avif: 'image/avif', svg: 'image/svg+xml', ico: 'image/x-icon' }

const ending = (path: string) => path.slice(path.lastIndexOf('.') + 1).toLowerCase()

export const fetchFile = (r: RunSummary, module: string, path: string, stop?: AbortSignal) =>
  ask(`${runPath(r)}/artifact?module=${encodeURIComponent(module)}&path=${encodeURIComponent(path)}`, { wait: 600000, signal: stop })

type Content = { kind: 'text' | 'page'; text: string } | { kind: 'picture'; url: string } | { kind: 'none'; why: string }

async function read(r: RunSummary, a: Artifact, stop: AbortSignal): Promise<Content> {
  const type = pictures[ending(a.path)]
  const page = ending(a.path) === 'html' || ending(a.path) === 'htm'
  if (a.size > (type || page ? mostPage : 50_000_000)) return { kind: 'none', why: `It has ${bytes(a.size)}: download it.` }
  const body = await (await fetchFile(r, a.module, a.path, stop)).blob()
  if (type) return { kind: 'picture', url: await dataURL(body, type) }
  const begin = new Uint8Array(await body.slice(0, 8000).arrayBuffer())
  if (begin.includes(0)) return { kind: 'none', why: 'It is not text: download it.' }
  if (page) return { kind: 'page', text: await body.text() }
  let text = await body.slice(0, mostText).text()
  if (ending(a.path) === 'json' && body.size <= mostText) {
    try {
      text = JSON.stringify(JSON.parse(text), null, 2)
    } catch {
      // It is shown as it is.
    }
  }
  if (body.size > mostText) text += `\n… and ${bytes(body.size - mostText)} more: download it`
  return { kind: 'text', text }
}

function dataURL(body: Blob, type: string): Promise<string> {
  return new Promise((done, failed) => {
    const reader = new FileReader()
    reader.onload = () => done(reader.result as string)
    reader.onerror = () => failed(reader.error)
    reader.readAsDataURL(new Blob([body], { type }))
  })
}

export function Preview({ r, a, list, open }: { r: RunSummary; a: Artifact; list: Artifact[]; open: (a: Artifact) => void }) {
  const [content, setContent] = useState<Content | null>(null)
  useEffect(() => {
    setContent(null)
    const stop = new AbortController()
    read(r, a, stop.signal).then(setContent, (e) => stop.signal.aborted || setContent({ kind: 'none', why: e.message }))
    return () => stop.abort()
  }, [r.id, a.module, a.path, a.digest])
  if (!content) return <Blank title="Fetching the file" />
  if (content.kind === 'none') {
    return (
      <Blank title="No preview">
        <p>{content.why}</p>
      </Blank>
    )
  }
  if (content.kind === 'picture') {
    return (
      <div class="picture">
        <img src={content.url} alt={a.path} />
      </div>
    )
  }
  if (content.kind === 'page') return <Page r={r} a={a} text={content.text} list={list} open={open} />
  return (
    <pre class="file mono" tabIndex={0} aria-label={a.path}>
      {content.text}
    </pre>
  )
}

function Page({ r, a, text, list, open }: { r: RunSummary; a: Artifact; text: string; list: Artifact[]; open: (a: Artifact) => void }) {
  const frame = useRef<HTMLIFrameElement>(null)
  const opens = useRef(open)
  opens.current = open
  useEffect(() => {
    const stop = new AbortController()
    const f = frame.current!
    const beside = (link: string) => {
      if (!link || /^(?:[a-z][a-z0-9+.-]*:|\/|#)/i.test(link)) return undefined
      const path = decodeURI(new URL(link, 'http://files/' + a.path).pathname.slice(1))
      return list.find((o) => o.module === a.module && o.path === path && !o.link)
    }
    const fill = () => {
      const doc = f.contentDocument
      if (doc) dress(doc, text, beside, (o) => fetchFile(r, o.module, o.path, stop.signal), (o) => opens.current(o)).catch(() => {}) // the frame has gone
    }
    f.addEventListener('load', fill)
    if (f.contentDocument?.readyState === 'complete') fill()
    return () => (stop.abort(), f.removeEventListener('load', fill))
  }, [a.module, a.path, text])
  // No allow-scripts: with it, allow-same-origin would be no sandbox.
  return <iframe key={a.path} ref={frame} class="page" title={a.path} sandbox="allow-same-origin" srcdoc="<!doctype html><title>Preview</title>" />
}

// inert are elements that run, fetch or leave.
const inert = 'script,iframe,frame,object,embed,applet,base,meta,form,portal,audio,video,source,track'

// dress puts a page into the frame's document: without what runs or fetches, and with
// its styles as sheets, which the frame's policy does not have to allow.
async function dress(doc: Document, text: string, beside: (link: string) => Artifact | undefined, get: (a: Artifact) => Promise<Response>, open: (a: Artifact) => void) {
  // Styles would be refused by the policy already when they are read: they become what it
  // does not know.
  const held = text
    .replace(/<script\b[\s\S]*?<\/script\s*>/gi, '')
    .replace(/<(\/?)style\b/gi, '<$1script data-css')
    .replace(/(<[^>]*?\s)style(\s*=)/gi, '$1data-style$2')
    .replace(/<[a-z][^>]*>/gi, (tag) => tag.replace(/([\s/'"])on(?=\w+\s*=)/gi, '$1data-on')) // refused aloud, also by a parser
  const page = new DOMParser().parseFromString(held, 'text/html')
  const sheets: Promise<string>[] = []
  for (const e of page.querySelectorAll('script[data-css],link')) {
    const file = e instanceof HTMLLinkElement && e.rel.includes('stylesheet') ? beside(e.getAttribute('href') ?? '') : undefined
    if (e.localName === 'script') sheets.push(Promise.resolve(e.textContent ?? ''))
    else if (file && file.size < mostText) sheets.push(get(file).then((a) => a.text()).catch(() => ''))
    e.remove()
  }
  page.querySelectorAll(inert).forEach((e) => e.remove())
  const images: Promise<void>[] = []
  for (const e of page.querySelectorAll('*')) {
    for (const { name, value } of [...e.attributes]) {
      if (/^on/i.test(name) || name === 'srcset' || name === 'ping' || name === 'background' || ((name === 'src' || name === 'xlink:href') && !value.startsWith('data:'))) e.removeAttribute(name)
      const file = e.localName === 'img' && name === 'src' ? beside(value) : undefined
      const type = file && pictures[ending(file.path)]
      if (file && type && file.size < mostText) images.push(get(file).then(async (a) => e.setAttribute('src', await dataURL(await a.blob(), type))).catch(() => {}))
    }
  }
  await Promise.all(images)
  doc.replaceChild(doc.adoptNode(page.documentElement), doc.documentElement)
  const own = doc.defaultView as (Window & typeof globalThis) | null
  if (!own) return
  doc.adoptedStyleSheets = (await Promise.all(sheets)).map((css) => {
    const sheet = new own.CSSStyleSheet()
    sheet.replaceSync(css.replace(/@import[^;]*;/g, ''))
    return sheet
  })
  for (const e of doc.querySelectorAll<HTMLElement>('[data-style]')) e.style.cssText = e.dataset.style!
  doc.addEventListener('click', (e) => {
    const link = (e.target as Element).closest?.('a[href]')
    const href = link?.getAttribute('href') ?? ''
    if (!link || href.startsWith('#')) return
    e.preventDefault()
    const file = beside(href.split('#')[0])
    if (file) open(file)
  })
}
