// Where the page is. Every state of a page that may be sent to another person
// is in its address.
import { computed, signal } from '@preact/signals'

export interface Place { path: string; query: URLSearchParams; hash: string }

const read = (): Place => ({ path: location.pathname, query: new URLSearchParams(location.search), hash: location.hash })

export const place = signal(read())

addEventListener('popstate', () => (place.value = read()))
addEventListener('hashchange', () => (place.value = read()))

export function go(address: string, replace = false) {
  const to = new URL(address, location.href)
  if (to.href === location.href) return
  history[replace ? 'replaceState' : 'pushState'](null, '', to)
  const before = place.value.path
  place.value = read()
  if (before !== place.value.path) document.querySelector('.scroll')?.scrollTo(0, 0)
}

// withQuery gives the present address with some parameters changed; null takes one
// away, and a list has one for each value.
export function withQuery(changes: Record<string, string | string[] | null>, path = place.value.path): string {
  const query = new URLSearchParams(place.value.query)
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name)
    for (const v of Array.isArray(value) ? value : value ? [value] : []) query.append(name, v)
  }
  const text = query.toString()
  return path + (text ? '?' + text : '')
}

// runLink, nodeLink and pipelineLink are the addresses of pages; run is a number or an id.
export function runLink(run: string | number, module?: string, attempt?: number): string {
  const query = new URLSearchParams({ ...(module && { m: module }), ...(attempt && { a: String(attempt) }) }).toString()
  return `/runs/${run}` + (query && '?' + query)
}
export const nodeLink = (name: string) => '/cluster/' + encodeURIComponent(name)
export const pipelineLink = (name: string) => '/pipelines/' + encodeURIComponent(name)

// Links inside of the dashboard change the place and load nothing.
addEventListener('click', (e) => {
  const link = (e.target as Element).closest?.('a[href]') as HTMLAnchorElement | null
  if (!link || e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
  if (link.origin !== location.origin || link.target || link.download || link.pathname.startsWith('/api/') || link.pathname.startsWith('/assets/')) return
  e.preventDefault()
  go(link.href)
})

// segments are the parts of the path. PIPELINE/NUMBER and PIPELINE/last name a run, and
// are one part, whether their slash is encoded or not.
export const segments = computed(() => {
  const parts = place.value.path.split('/').filter(Boolean).map(decodeURIComponent)
  if (parts[0] === 'runs' && /^(?:last|\d+)$/.test(parts[2] ?? '')) parts.splice(1, 2, parts[1] + '/' + parts[2])
  return parts
})
