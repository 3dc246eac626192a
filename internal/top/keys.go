package top

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gdamore/tcell/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// key handles a key.
func (a *App) key(e *tcell.EventKey) error {
	if e.Key() == tcell.KeyCtrlC {
		return errLeave
	}
	if e.Key() == tcell.KeyCtrlL {
		a.paint.screen.Sync()
		return nil
	}

	switch {
	case a.ui.question != "":
		a.answer(e)
		return nil
	case a.ui.typing:
		a.typed(e)
		return nil
	case a.ui.pager != nil:
		if a.ui.pager.key(e, a.paint.pagerHeight()) {
			a.ui.close()
		}
		return nil
	}

	a.ui.message = ""
	switch e.Key() {
	case tcell.KeyUp:
		a.move(-1)
	case tcell.KeyDown:
		a.move(1)
	case tcell.KeyPgUp:
		a.move(-10)
	case tcell.KeyPgDn:
		a.move(10)
	case tcell.KeyHome:
		a.move(-1 << 20)
	case tcell.KeyEnd:
		a.move(1 << 20)
	case tcell.KeyTab, tcell.KeyRight:
		a.turn(1)
	case tcell.KeyBacktab, tcell.KeyLeft:
		a.turn(int(tables) - 1)
	case tcell.KeyEnter:
		a.open()
	case tcell.KeyEsc:
		a.filter[a.focus] = ""
	case tcell.KeyRune:
		return a.letter(e.Str())
	}
	return nil
}

func (a *App) turn(by int) { a.focus = (a.focus + table(by)) % tables }

// letter handles a key that is a character.
func (a *App) letter(s string) error {
	switch s {
	case "q":
		return errLeave
	case "k":
		a.move(-1)
	case "j":
		a.move(1)
	case "l":
		a.showLog()
	case "w":
		a.showWhy()
	case "c":
		a.askCancel()
	case "r":
		a.askRetry()
	case "d":
		a.askDrain()
	case "f":
		a.fold()
	case "/":
		a.ui.typing = true
	case "?":
		a.ui.page("keys", helpText, nil)
	}
	return nil
}

// open goes from a run to its modules, from a block that is folded to its instances,
// from a module to its output, and from a node to what is wrong with it.
func (a *App) open() {
	switch a.focus {
	case nodesTable:
		a.showNode()
	case runsTable:
		a.focus = modulesTable
	case modulesTable:
		if row := a.moduleRow(); row != nil && len(row.members) > 1 {
			a.fold()
			return
		}
		a.showLog()
	}
}

// answer takes the answer to a question.
func (a *App) answer(e *tcell.EventKey) {
	yes := a.ui.yes
	a.ui.question, a.ui.yes = "", nil
	if e.Key() == tcell.KeyRune && (e.Str() == "y" || e.Str() == "Y") {
		yes(a)
		return
	}
	a.ui.say("nothing was changed", false)
}

// typed takes a key of a filter.
func (a *App) typed(e *tcell.EventKey) {
	f := &a.filter[a.focus]
	switch e.Key() {
	case tcell.KeyEnter:
		a.ui.typing = false
	case tcell.KeyEsc:
		a.ui.typing, *f = false, ""
	case tcell.KeyBackspace:
		_, n := utf8.DecodeLastRuneInString(*f)
		*f = (*f)[:len(*f)-n]
	case tcell.KeyRune:
		*f += e.Str()
	}

	if names := a.rows(a.focus); len(names) > 0 && !slices.Contains(names, a.chosen[a.focus]) {
		a.choose(a.focus, names[0])
	}
}

// act carries out an action beside the view, and says how it went.
func (a *App) act(doing, done string, do func(context.Context) error) {
	a.ui.say(doing, false)
	a.start(func(ctx context.Context) {
		err := do(ctx)
		a.feed.send(ctx, func(a *App) {
			if err != nil {
				a.ui.say(terminal.OneLine(err.Error()), true)
				return
			}
			a.ui.say(done, false)
		})
	})
}

func (a *App) askCancel() {
	r := a.run.RunSummary
	switch {
	case r.ID == "":
	case r.State.Final():
		a.ui.say(runTitle(&r)+" has ended; there is nothing to cancel", true)
	default:
		a.ui.ask("cancel "+runTitle(&r)+"?", func(a *App) {
			a.act("cancelling "+runTitle(&r), runTitle(&r)+" is being cancelled", func(ctx context.Context) error { return a.cfg.Cluster.Cancel(ctx, r.ID) })
		})
	}
}

func (a *App) askRetry() {
	r := a.run.RunSummary
	switch {
	case r.ID == "":
	case !r.State.Final():
		a.ui.say(runTitle(&r)+" has not ended; only a run that has ended is retried", true)
	default:
		a.ui.ask("retry "+runTitle(&r)+", and keep what succeeded?", func(a *App) {
			a.act("retrying "+runTitle(&r), runTitle(&r)+" resumes", func(ctx context.Context) error { return a.cfg.Cluster.Retry(ctx, r.ID) })
		})
	}
}

// askDrain is about the node that is chosen; the table of nodes must have the focus, so
// that none is drained by mistake.
func (a *App) askDrain() {
	n := a.node()
	if a.focus != nodesTable || n == nil {
		a.ui.say("choose a node first (Tab)", true)
		return
	}

	name, off := n.Name, n.Draining
	question, doing, done := "drain "+name+": it gets no more modules?", "draining "+name, name+" is draining"
	if off {
		question, doing, done = "use "+name+" again?", "ending the draining of "+name, name+" gets modules again"
	}
	a.ui.ask(terminal.Flat(question), func(a *App) {
		a.act(terminal.Flat(doing), terminal.Flat(done), func(ctx context.Context) error { return a.cfg.Cluster.Drain(ctx, name, off) })
	})
}

// showLog shows the output of a module, and what comes.
func (a *App) showLog() {
	id, module := a.run.ID, a.module()
	if id == "" || module == "" {
		a.ui.say("there is no module", true)
		return
	}

	ctx, stop := context.WithCancel(a.ctx)
	p := a.ui.page("output of "+terminal.Flat(module), "", stop)
	p.atEnd = true
	number := a.ui.pagers
	a.startIn(ctx, func(ctx context.Context) { a.feed.log(ctx, id, module, number) })
}

// showWhy shows why a module, or the run, is in its state.
func (a *App) showWhy() {
	id, module := a.run.ID, ""
	if id == "" {
		a.ui.say("there is no run", true)
		return
	}
	title := runTitle(&a.run.RunSummary)
	if a.focus == modulesTable {
		module = a.module()
		title = terminal.Flat(module)
	}

	ctx, stop := context.WithCancel(a.ctx)
	a.ui.page("why "+title, "", stop)
	number := a.ui.pagers
	a.startIn(ctx, func(ctx context.Context) {
		why, err := a.cfg.Cluster.Why(ctx, id, module)
		a.feed.send(ctx, func(a *App) { a.ui.takeText(number, whyText(why), err) })
	})
}

func whyText(why wire.Why) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s%s\n", runTitle(&why.Run), pipeline.Words(why.Run.State), terminal.Flat(terminal.ReasonSuffix(why.Run.Reason)))
	for _, m := range why.Module {
		fmt.Fprintf(&b, "%s: %s\n", terminal.Flat(m.Name), m.State)
		for _, fact := range m.Because {
			fmt.Fprintf(&b, "  - %s\n", terminal.Flat(fact))
		}
	}
	return b.String()
}

// showNode shows what a node says of itself.
func (a *App) showNode() {
	n := a.node()
	if n == nil {
		return
	}

	text := fmt.Sprintf("%s: %s, %s, version %s\nHTTP %s, peers %s, gossip %s\n", n.Name, n.Role, n.Status, n.Version, n.HTTP, n.Peer, n.Gossip)
	if len(n.Reasons) == 0 && n.Status == pipeline.MemberAlive {
		text += "healthy\n"
	}
	for _, why := range n.Reasons {
		text += "  - " + why + "\n"
	}
	a.ui.page("node "+terminal.Flat(n.Name), text, nil)
}
