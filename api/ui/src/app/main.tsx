import { effect } from '@preact/signals'
import { render } from 'preact'
import { token } from './api'
import { Approvals } from './approvals'
import { Cluster } from './cluster'
import { start } from './live'
import { Access, Cache } from './lists'
import { Locks } from './locks'
import { NodePage } from './nodepage'
import { Blank } from './parts'
import { Pipelines } from './pipelines'
import { segments } from './route'
import { RunPage, runTabs } from './run'
import { Runs } from './runs'
import { Schedules } from './schedules'
import { Shell, Top, show } from './shell'
import { SignIn, entering, fromAddress } from './signin'
import { who } from './store'

function Page() {
  const [first = 'runs', name, tab = ''] = segments.value
  const depth = segments.value.length
  if (first === 'runs' && depth <= 1) return <Runs />
  if (first === 'runs' && depth <= 3 && runTabs.has(tab)) return <RunPage key={name} />
  if (first === 'approvals' && depth === 1) return <Approvals />
  if (first === 'pipelines' && depth <= 2) return <Pipelines key={name ?? ''} name={name} />
  if (first === 'cluster' && depth === 1) return <Cluster />
  if (first === 'cluster' && depth === 2) return <NodePage key={name} name={name} />
  if (first === 'schedules' && depth === 1) return <Schedules />
  if (first === 'locks' && depth === 1) return <Locks />
  if (first === 'cache' && depth === 1) return <Cache />
  if (first === 'secrets' && depth === 1) return <Access />
  show('wait', 'pipelined')
  return (
    <>
      <Top path={[['Runs', '/runs']]} />
      <Blank page title="There is no such page">
        <p>
          <a href="/runs">Show the runs</a>
        </p>
      </Blank>
    </>
  )
}

function App() {
  if (!who.value) return entering.value ? <main class="main" aria-busy="true" /> : <SignIn />
  return (
    <Shell>
      <Page />
    </Shell>
  )
}

// What is asked for continually stops with the sign-in.
let stop = () => {}
effect(() => {
  stop()
  stop = who.value ? start() : () => {}
})
effect(() => {
  if (!token.value) who.value = null
})

fromAddress()
const root = document.getElementById('app')!
root.replaceChildren()
render(<App />, root)
