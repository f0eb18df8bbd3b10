package mysqlstore

import (
	"database/sql"

	"github.com/persistd/persistd/internal/readpath"
)

// reads are the reads of the database, and the outbox: what is the same whether a log stands before it ([Store]) or not ([Direct]).
type reads struct {
	db *sql.DB
	// prepared are the statements that are prepared; nil if none is.
	prepared *prepared
	// generation is that of the log whose sequences mean something to the reader; 0 without a log.
	generation func() (uint32, error)
	// failed is err with what was done, classified; nil for nil.
	failed func(what string, err error) error
}

var (
	_ readpath.History = (*Store)(nil)
	_ readpath.Outbox  = (*Store)(nil)
)

// presentGeneration is the generation of the registered log.
func (s *Store) presentGeneration() (uint32, error) {
	r := s.registered.Load()
	if r == nil {
		return 0, errNotRegistered
	}
	return r.generation, nil
}

// byStep makes the servers take the key in whose order a run's records are read. Left to themselves they now and then read a small
// table whole and sort what they find, states and all, for which MySQL's sort buffer is too small (1038).
const byStep = " FORCE INDEX (" + runStepKey + ") "

// oneByOne ends the condition of a read that looks through rows by a key for one of them. It names the table's JSON column, and so MySQL fetches
// the rows one at a time.
//
// Of rows that it finds by a secondary key and fetches ahead, MySQL may leave out one that is written over meanwhile. Where it has to make old
// versions of two rows, and the page was put in order between them, the second may stand where the first did; then it takes the first one's
// version for it, finds that this is not what the key says, and passes on. MariaDB has mended that (MDEV-22924), and reads no comment of such a
// version. A read that wants states needs none of this, nor does one by the primary key.
//
// What is looked through for changes is fetched ahead all the same (changed, versions), for the states of a whole run would be read each time. A
// step that is left out there is being saved again: it comes with its later place, or, if that write is refused, not before it is saved once more.
const (
	oneByOne         = " /*!80012 AND JSON_TYPE(state) IS NOT NULL */"
	oneByOneFrontier = " /*!80012 AND JSON_TYPE(frontier) IS NOT NULL */" // of the three the shortest
)

// appendMarks appends "(?,?,…)" for the n elements of a list, at least one.
func appendMarks(q []byte, n int) []byte {
	q = append(q, '(')
	for i := range n {
		if i > 0 {
			q = append(q, ',')
		}
		q = append(q, '?')
	}
	return append(q, ')')
}

// anys are the elements of list as arguments of a statement.
func anys[T any](list []T) []any {
	all := make([]any, len(list))
	for i, x := range list {
		all[i] = x
	}
	return all
}
