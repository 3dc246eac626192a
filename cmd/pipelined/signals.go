package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal gives a context that the first signal ends.
func untilSignal(ctx context.Context, signals <-chan os.Signal) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	// The caller that cancels has waited for the goroutine, so that no later signal is
	// lost to it.
	return ctx, func(why error) {
		cancel(why)
		<-done
	}
}

// notify is signal.Notify, but for a HUP that is ignored already: the one who used
// nohup wants this process to stay.
func notify(c chan<- os.Signal, signals ...os.Signal) {
	for _, s := range signals {
		if s != syscall.SIGHUP || !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}
