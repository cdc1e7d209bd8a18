package store

import (
	"io"
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// putPiece writes a piece of b in an opening of its own, as another process would.
func putPiece(t *testing.T, s *Store, b []byte, from, to int64) {
	t.Helper()
	p, err := s.Pieces(t.Context(), v1.Descriptor{Digest: artifacttest.DigestOf(b), Size: int64(len(b))})
	artifacttest.Check(t, err)
	_, err = p.Writer(from).Write(b[from:to])
	artifacttest.Check(t, err)
	artifacttest.Check(t, p.Add(from, to-from))
	artifacttest.Check(t, p.Close())
}

func TestPiecesComeInAnyOrderAndStay(t *testing.T) {
	s := newStore(t)
	b := artifacttest.Noise(1, 10_000)
	d := v1.Descriptor{Digest: artifacttest.DigestOf(b), Size: int64(len(b))}
	putPiece(t, s, b, 7000, 10_000)
	putPiece(t, s, b, 0, 3000)
	// A line that was not finished, as a process leaves it that is killed, does not count.
	f, err := os.OpenFile(s.piecesPath(d.Digest), os.O_WRONLY|os.O_APPEND, 0)
	artifacttest.Check(t, err)
	_, err = f.WriteString("3000 70")
	artifacttest.Check(t, err)
	artifacttest.Check(t, f.Close())

	p, err := s.Pieces(t.Context(), d)
	artifacttest.Check(t, err)
	for _, tc := range []struct {
		offset, size int64
		want         bool
	}{{0, 3000, true}, {100, 50, true}, {2999, 2, false}, {3000, 70, false}, {7000, 3000, true}, {0, 10_000, false}} {
		if got := p.Has(tc.offset, tc.size); got != tc.want {
			t.Errorf("%d bytes from %d on: %v", tc.size, tc.offset, got)
		}
	}
	artifacttest.WantError(t, p.Commit(t.Context()), "not all of it is there")
	artifacttest.WantError(t, p.Add(9000, 2000), "of 10000 bytes")
	artifacttest.Check(t, p.Close())
	putPiece(t, s, b, 3000, 7000)
	p, err = s.Pieces(t.Context(), d)
	artifacttest.Check(t, err)
	artifacttest.Check(t, p.Commit(t.Context()))
	r, err := s.Open(t.Context(), artifact.Reference{}, d, 0)
	artifacttest.Check(t, err)
	defer r.Close()
	got, err := io.ReadAll(r)
	if artifacttest.Check(t, err); artifacttest.DigestOf(got) != d.Digest {
		t.Error("the blob has other bytes")
	}
	artifacttest.Check(t, s.Close())
	if left := artifacttest.Ingest(t, s); len(left) > 0 {
		t.Errorf("left in ingest: %v", left)
	}
}

func TestPiecesThatWereDamagedAreNeededAgain(t *testing.T) {
	s := newStore(t)
	b := artifacttest.Noise(2, 10_000)
	d := v1.Descriptor{Digest: artifacttest.DigestOf(b), Size: int64(len(b))}
	putPiece(t, s, b, 0, 5000)
	f, err := os.OpenFile(s.piecesPath(d.Digest), os.O_WRONLY, 0)
	artifacttest.Check(t, err)
	_, err = f.WriteAt([]byte("rotten"), 100)
	artifacttest.Check(t, err)
	artifacttest.Check(t, f.Close())
	putPiece(t, s, b, 5000, 10_000)
	p, err := s.Pieces(t.Context(), d)
	artifacttest.Check(t, err)
	err = p.Commit(t.Context())
	artifacttest.WantError(t, err, "its pieces together have digest", d.Digest.String())
	if !artifact.IsDamaged(err) {
		t.Error("the error is not told as damage")
	}
	artifacttest.Check(t, p.Close())
	if has, err := s.HasPiece(t.Context(), d, 5000, 5000); has || err != nil {
		t.Errorf("the pieces are still there: %v", err)
	}
	if has, _ := s.Has(t.Context(), artifact.Reference{}, d); has {
		t.Error("the blob is there")
	}
}
