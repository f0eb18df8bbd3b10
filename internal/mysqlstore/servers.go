package mysqlstore

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/zap"
)

// Addresses are the servers that a data source name names: user:password@tcp(first:3306,second:3306)/database. A name without a list, or one
// that does not parse, has none to tell apart, and comes back with no addresses.
func Addresses(dsn string) []string {
	_, list, _ := cutAddresses(dsn)
	return list
}

// OneAddress is dsn with the first of its addresses only, as go-sql-driver takes it.
func OneAddress(dsn string) string {
	before, list, after := cutAddresses(dsn)
	if len(list) == 0 {
		return dsn
	}
	return before + list[0] + after
}

// cutAddresses cuts dsn around the addresses in it; there are none unless there are several.
func cutAddresses(dsn string) (before string, list []string, after string) {
	slash := strings.LastIndexByte(dsn, '/')
	if slash < 0 {
		return dsn, nil, ""
	}
	from := strings.LastIndexByte(dsn[:slash], '@') + 1
	const network = "tcp("
	if !strings.HasPrefix(dsn[from:slash], network) || !strings.HasSuffix(dsn[:slash], ")") {
		return dsn, nil, ""
	}
	from += len(network)
	within := dsn[from : slash-1]
	if !strings.Contains(within, ",") {
		return dsn, nil, ""
	}
	for addr := range strings.SplitSeq(within, ",") {
		addr = strings.TrimSpace(addr)
		if _, _, err := net.SplitHostPort(addr); err != nil && addr != "" {
			addr = net.JoinHostPort(addr, "3306")
		}
		list = append(list, addr)
	}
	return dsn[:from], list, dsn[slash-1:]
}

// servers are those that the DSN names, with what the store needs set over what it says. Its pools work on one of them at a time, all on
// the same: the first, until it fails, and then the next that serves, around the list. There is no way back but that one's failure: to
// move costs every connection, and of a cluster one node is as good as another.
type servers struct {
	drivers []*mysql.Config // of each address
	current atomic.Int32    // index of the one that is worked on
	log     *zap.Logger     // nil is none
}

// newServers reads the DSN, once per address that it has.
func newServers(dsn string, parse func(dsn string) (*mysql.Config, error)) (*servers, error) {
	before, list, after := cutAddresses(dsn)
	dsns := []string{dsn}
	if len(list) > 0 {
		dsns = nil
	}
	for i, addr := range list {
		if addr == "" {
			return nil, fmt.Errorf("dsn: address %d of %d is empty", i+1, len(list))
		}
		dsns = append(dsns, before+addr+after)
	}
	v := &servers{}
	for _, one := range dsns {
		d, err := parse(one)
		if err != nil {
			return nil, err
		}
		v.drivers = append(v.drivers, d)
	}
	return v, nil
}

// logTo has all that is to be told of the servers logged.
func (v *servers) logTo(log *zap.Logger) {
	v.log = log
	for _, d := range v.drivers {
		d.Logger = driverLog{log}
	}
}

// with returns the same servers, with changed settings.
func (v *servers) with(change func(*mysql.Config)) *servers {
	other := &servers{log: v.log}
	for _, d := range v.drivers {
		d = d.Clone()
		change(d)
		other.drivers = append(other.drivers, d)
	}
	other.current.Store(v.current.Load())
	return other
}

// leave leaves the server at index, which fails, unless somebody did so before.
func (v *servers) leave(index int) {
	next := (index + 1) % len(v.drivers)
	if next == index || !v.current.CompareAndSwap(int32(index), int32(next)) { //nolint:gosec // G115: an index of a list in a setting.
		return
	}
	if v.log != nil {
		v.log.Warn("leave database server", zap.String("address", v.drivers[index].Addr), zap.String("next", v.drivers[next].Addr))
	}
}
