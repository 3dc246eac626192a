package fsm

import (
	"cmp"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// MaxSignIns bounds how many codes and tokens of sign-ins are kept; those that
	// expire first make room.
	MaxSignIns = 1000
	// signInMargin is how long after its end one is kept, so that the clocks of two
	// proposers may differ.
	signInMargin = time.Hour
)

// prepareSignIn takes the code that a token is made for, and makes room for one more.
func (g *registry) prepareSignIn(t *Token, now time.Time) error {
	if t.Exchange != "" {
		var code TokenRecord
		if b := g.tx.Bucket(bTokens).Get([]byte(t.Exchange)); b != nil {
			mustUnmarshal(b, &code)
		}
		if !code.Code || now.After(code.ExpiresAt) {
			return pipeline.Errorf(pipeline.NotFound, "no code %s: it is unknown, used or expired", t.Exchange)
		}
		g.del(bTokens, []byte(t.Exchange))
	}
	if !t.Record.SignIn {
		return nil
	}

	list := g.signIns()
	slices.SortFunc(list, func(a, b TokenRecord) int {
		return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), cmp.Compare(a.ID, b.ID))
	})
	var gone []string
	for i := range list {
		if len(list)-i < MaxSignIns && !now.After(list[i].ExpiresAt.Add(signInMargin)) {
			break
		}
		gone = append(gone, list[i].ID)
	}
	g.dropTokens(list, gone...)
	return nil
}

// signIns lists the codes and tokens of sign-ins.
func (g *registry) signIns() (list []TokenRecord) {
	_ = eachRecord(g.tx.Bucket(bTokens), func(rec TokenRecord) { // the callback never fails
		if rec.SignIn {
			list = append(list, rec)
		}
	})
	return list
}

// dropTokens removes tokens with the sign-ins that were made with them, and with these
// in turn. signIns are all sign-ins.
func (g *registry) dropTokens(signIns []TokenRecord, ids ...string) {
	children := map[string][]string{}
	for i := range signIns {
		children[signIns[i].Parent] = append(children[signIns[i].Parent], signIns[i].ID)
	}
	for len(ids) > 0 {
		id := ids[0]
		g.del(bTokens, []byte(id))
		ids = append(ids[1:], children[id]...)
		delete(children, id)
	}
}
