package executor

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"strconv"
	"sync/atomic"
)

// identity names an engine, and makes the cookies of its attempts.
type identity struct {
	// boot is the life of the machine, incarnation that of the engine; it begins
	// with boot. mark begins all cookies of the data directory.
	boot, incarnation, mark string
	// outer is the cookie of a module that this process itself runs in.
	outer string
	// serial counts the cookies.
	serial atomic.Uint64
}

func (i *identity) init(mark string) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails

	i.boot, i.mark, i.outer = bootID(), mark, os.Getenv(CookieVariable)
	i.incarnation = i.boot + "-" + hex.EncodeToString(random[:])
}

// nextCookie is unique among all attempts of all engines of the data directory.
func (i *identity) nextCookie() string {
	life := i.incarnation[len(i.incarnation)-16:]
	return i.mark + "." + life + "." + strconv.FormatUint(i.serial.Add(1), 10)
}

// variable is a cookie as an environment variable, after those of a pipeline
// around this process.
func (i *identity) variable(cookie string) string {
	if i.outer != "" {
		return CookieVariable + "=" + i.outer + " " + cookie
	}
	return CookieVariable + "=" + cookie
}
