// The plan of a run: which modules may run at the same time, wave by wave, what each
// waits for, and how long it is expected to take.
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { json } from './api'
import { count, duration } from './format'
import { needsOf, type Graph } from './graph'
import { Shape } from './icons'
import { elapsed, kindOf } from './modules'
import { Blank, Command, Table, curl, say } from './parts'
import { withQuery } from './route'
import { runPath } from './run'
import { changed, modules, moduleOrder, ref, variables } from './store'
import type { RunSummary } from './types'

const graph = signal<Graph | null>(null)

// waves gives each module the number of the longest chain before it.
function waves(g: Graph): number[][] {
  const depth: number[] = []
  const ofSet: number[] = []
  const depthOf = (i: number): number => {
    if (depth[i] !== undefined) return depth[i]
    depth[i] = 0
    const set = g.modules[i].needs
    if (set < 0) return 0
    ofSet[set] ??= Math.max(...g.sets[set].map(depthOf)) + 1
    return (depth[i] = ofSet[set])
  }
  const out: number[][] = []
  g.modules.forEach((_, i) => (out[depthOf(i)] ??= []).push(i))
  return out
}

export function Plan({ r }: { r: RunSummary }) {
  useEffect(() => {
    const stop = new AbortController()
    json<Graph>(`${runPath(r)}/graph?fold=none`, { signal: stop.signal }).then((g) => (graph.value = g), (e) => stop.signal.aborted || say(e.message, true))
    return () => {
      stop.abort()
      graph.value = null
    }
  }, [r.id, moduleOrder.value.length])
  changed.value
  const g = graph.value
  if (!g) return <Blank title="Asking the cluster" />
  const needs = (i: number) => {
    const names = needsOf(g, i)
    return names.length > 6 ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more` : names.join(', ')
  }
  return (
    <div class="scroll">
      {variables.value.length > 0 && (
        <section class="card" aria-label="Variables">
          <h2 class="cardh">Variables</h2>
          <Table heads={['Variable', 'Value']} kind="plan">
            {variables.value.map(([name, value]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td data-label="Value" class="reason">
                  {value ?? 'sensitive'}
                </td>
              </tr>
            ))}
          </Table>
        </section>
      )}
      {waves(g).map((wave, n) => (
        <section key={n} class="card" aria-label={`Wave ${n + 1}`}>
          <h2 class="cardh">
            Wave {n + 1} <small>{`${count(wave.length, 'module')} that may run at the same time`}</small>
          </h2>
          <table class="nt cards plan">
            <thead>
              <tr>
                <th scope="col">Module</th>
                <th scope="col">Runs after</th>
                <th scope="col" class="n">
                  Took
                </th>
                <th scope="col" class="n">
                  Expected
                </th>
              </tr>
            </thead>
            <tbody>
              {wave.map((i) => {
                const name = g.modules[i].name
                const m = modules.get(name)?.peek()
                const took = m ? elapsed(m) : NaN
                return (
                  <tr key={name}>
                    <th scope="row">
                      <span class="node">
                        <Shape kind={m ? kindOf(m)[0] : 'wait'} />
                        <a href={withQuery({ m: name }, `/runs/${ref(r)}`)}>{name}</a>
                        <span class="sr">{m ? kindOf(m)[1] : ''}</span>
                      </span>
                    </th>
                    <td data-label="Runs after">{needs(i) || 'nothing'}</td>
                    <td data-label="Took" class="n">
                      {took >= 0 ? duration(took) : ''}
                    </td>
                    <td data-label="Expected" class="n">
                      {m?.expectedSeconds ? duration(m.expectedSeconds) : ''}
                    </td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        </section>
      ))}
      <Command text={curl('GET', runPath(r) + '/graph?fold=none')} />
    </div>
  )
}
