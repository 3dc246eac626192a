// The smaller views of a run: the files it left, and why modules are where they are.
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { json } from './api'
import { bytes, count } from './format'
import { Icon, Shape, ofModule } from './icons'
import { chosenModule } from './modules'
import { Blank, Command, cli, save, say } from './parts'
import { Preview, fetchFile } from './preview'
import { go, place, withQuery } from './route'
import { runPath } from './run'
import { changed, ref } from './store'
import type { Artifact, RunSummary, WhyModule } from './types'

const artifacts = signal<Artifact[] | null>(null)
const why = signal<WhyModule[] | null>(null)

// useAnswer asks again when the run has changed, but not more than once a second.
export function useAnswer<T>(path: string, into: { value: T | null }, take: (a: any) => T) {
  const at = changed.value
  useEffect(() => {
    into.value = null
  }, [path])
  useEffect(() => {
    const stop = new AbortController()
    const timer = setTimeout(
      () => json(path, { signal: stop.signal }).then((a) => (into.value = take(a)), (e) => stop.signal.aborted || say(e.message, true)),
      into.value === null ? 0 : 1000,
    )
    return () => (clearTimeout(timer), stop.abort())
  }, [path, at])
}

async function download(r: RunSummary, a: Artifact) {
  try {
    const answer = await fetchFile(r, a.module, a.path)
    save(await answer.blob(), a.path.slice(a.path.lastIndexOf('/') + 1))
  } catch (e) {
    say((e as Error).message, true)
  }
}

export function Outputs({ r }: { r: RunSummary }) {
  const m = chosenModule.value
  const query = place.value.query
  useAnswer(`${runPath(r)}/artifacts${m ? '?module=' + encodeURIComponent(m) : ''}`, artifacts, (a: { artifacts: Artifact[] }) => a.artifacts)
  const list = artifacts.value
  const shown = list?.find((a) => a.path === query.get('file') && a.module === (query.get('of') ?? m))
  const to = (a: Artifact) => withQuery({ file: a.path, of: a.module })
  return (
    <div class={'scroll' + (shown ? ' shown' : '')}>
      <section class="card" aria-label="Outputs">
        <h2 class="cardh">
          Outputs <small>{list ? `${count(list.length, 'file')}, ${bytes(list.reduce((n, a) => n + a.size, 0))}` : ''}</small>
          <Only m={m} />
        </h2>
        {list === null ? (
          <Blank title="Asking the cluster" />
        ) : list.length === 0 ? (
          <Blank title={r.artifactsGone ? 'The files are gone' : 'No files'}>
            <p>{r.artifactsGone ? 'They were older than the cluster keeps. Pin a run to keep all of it.' : 'A module keeps files that its outputs name, such as outputs = ["bin/*"].'}</p>
          </Blank>
        ) : (
          <table class="nt files">
            <thead>
              <tr>
                <th scope="col">File</th>
                <th scope="col">Module</th>
                <th scope="col" class="n">
                  Size
                </th>
                <th scope="col">
                  <span class="sr">Download</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((a) => (
                <tr key={a.module + '\0' + a.path} aria-current={a === shown ? 'true' : undefined}>
                  <th scope="row" class="mono">
                    {a.link ? a.path : <a href={to(a)}>{a.path}</a>}
                  </th>
                  <td>
                    <a href={withQuery({ m: a.module, file: null, of: null }, `/runs/${ref(r)}`)}>{a.module}</a>
                  </td>
                  <td class="n">{a.link ? `link to ${a.link}` : bytes(a.size)}</td>
                  <td class="act">
                    {!a.link && (
                      <button class="btn icon ghost" aria-label={`Download ${a.path} of ${a.module}`} onClick={() => download(r, a)}>
                        <Icon name="download" />
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        {list !== null && list.length > 0 && (
          <div class="foot">
            <Command text={cli('artifacts', ref(r), ...(m ? [m] : []), '-o', 'DIR')} />
          </div>
        )}
      </section>
      {shown && (
        <section class="card preview" aria-label={`Preview of ${shown.path}`}>
          <div class="cardh">
            <h2 class="mono">{shown.path}</h2>
            <small>{`${shown.module}, ${bytes(shown.size)}`}</small>
            <span class="grow" />
            <button class="btn icon ghost" aria-label={`Download ${shown.path}`} onClick={() => download(r, shown)}>
              <Icon name="download" />
            </button>
            <a class="btn icon ghost" href={withQuery({ file: null, of: null })} aria-label="Close the preview">
              <Icon name="close" />
            </a>
          </div>
          <Preview r={r} a={shown} list={list!} open={(a) => go(to(a))} />
        </section>
      )}
    </div>
  )
}

export const Only = ({ m }: { m: string }) =>
  m ? (
    <a class="chip" href={withQuery({ m: null })} aria-current="true" aria-label={`Only ${m}: show all modules`}>
      {m}
      <Icon name="close" />
    </a>
  ) : null

export function WhyTab({ r }: { r: RunSummary }) {
  const m = chosenModule.value
  useAnswer(`${runPath(r)}/why${m ? '?module=' + encodeURIComponent(m) : ''}`, why, (a: { modules: WhyModule[] }) => a.modules)
  const list = why.value
  return (
    <div class="scroll">
      <section class="card" aria-label="Why">
        <h2 class="cardh">
          Why <small>each module is in its state</small>
          <Only m={m} />
        </h2>
        {list === null ? (
          <Blank title="Asking the cluster" />
        ) : (
          <ul class="why">
            {list.map((w) => (
              <li key={w.name}>
                <Shape kind={ofModule(w.state)[0]} />
                <div>
                  <a href={withQuery({ m: w.name }, `/runs/${ref(r)}`)}>{w.name}</a> <small>{ofModule(w.state)[1]}</small>
                  {w.because.map((text, i) => (
                    <p key={i}>{text}</p>
                  ))}
                </div>
              </li>
            ))}
          </ul>
        )}
      </section>
      <Command text={cli('why', ref(r), ...(m ? [m] : []))} />
    </div>
  )
}
