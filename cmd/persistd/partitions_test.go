package main

import (
	"context"
	"time"
)

// place is what is known of a partition in the database.
type place struct {
	Owner           string
	Epoch, Position uint64
	Gen             uint32
	Updated         time.Time
}

// partitions are the partitions of the log registered last; none while the database is away.
func (s *stack) partitions() map[int]place {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, "SELECT partition_no, owner, epoch, position, generation, updated_at FROM persistd_partitions"+
		" WHERE generation = (SELECT MAX(generation) FROM persistd_streams)")
	if err != nil {
		return nil
	}
	defer rows.Close()
	at := map[int]place{}
	for rows.Next() {
		var no int
		var p place
		if rows.Scan(&no, &p.Owner, &p.Epoch, &p.Position, &p.Gen, &p.Updated) != nil {
			return nil
		}
		at[no] = p
	}
	if rows.Err() != nil {
		return nil
	}
	return at
}

// ownedBy waits until an instance owns every partition.
func (s *stack) ownedBy(instance string) map[int]place {
	s.t.Helper()
	var at map[int]place
	s.eventually("all partitions belong to "+instance, func() bool {
		at = s.partitions()
		for _, p := range at {
			if p.Owner != instance {
				return false
			}
		}
		return len(at) > 0
	})
	return at
}
