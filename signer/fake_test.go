package signer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// fakeTree is a tree in memory.
type fakeTree struct {
	files    []File
	contents [][]byte

	mu        sync.Mutex
	labels    map[uint64][]byte // by inode
	order     []uint64          // in which labels were set
	setting   bool
	committed int

	listErr error
	openErr map[uint64]error
	setErr  map[uint64]error
	onOpen  func(*File)
}

func newFakeTree(contents ...string) *fakeTree {
	t := &fakeTree{labels: map[uint64][]byte{}, openErr: map[uint64]error{}, setErr: map[uint64]error{}}
	for _, c := range contents {
		t.add(c)
	}
	return t
}

func (t *fakeTree) add(content string, paths ...string) *File {
	ino := uint64(len(t.files) + 1)
	if len(paths) == 0 {
		paths = []string{fmt.Sprintf("/f%d", ino)}
	}
	t.files = append(t.files, File{Paths: paths, Inode: ino, Size: int64(len(content)), Mode: 0o100644, Links: uint32(len(paths))})
	t.contents = append(t.contents, []byte(content))
	return &t.files[len(t.files)-1]
}

func (t *fakeTree) Files(context.Context) ([]File, error) { return t.files, t.listErr }

func (t *fakeTree) Open(f *File) (io.ReadCloser, error) {
	if t.onOpen != nil {
		t.onOpen(f)
	}
	if err := t.openErr[f.Inode]; err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(t.contents[f.Inode-1])), nil
}

func (t *fakeTree) Label(f *File) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.labels[f.Inode], nil
}

func (t *fakeTree) SetLabel(f *File, value []byte) error {
	t.mu.Lock()
	if t.setting {
		panic("SetLabel called twice at a time")
	}
	t.setting = true
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.setting = false
		t.mu.Unlock()
	}()
	if err := t.setErr[f.Inode]; err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.labels[f.Inode] = bytes.Clone(value)
	t.order = append(t.order, f.Inode)
	return nil
}

func (t *fakeTree) Commit(context.Context) error {
	t.committed++
	return nil
}

// testKey is made once: making keys is slow.
var testKey = sync.OnceValue(func() *rsa.PrivateKey { return mustKey(2048) })

var otherKey = sync.OnceValue(func() *rsa.PrivateKey { return mustKey(2048) })

func mustKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func publicKey(t testing.TB, key *rsa.PrivateKey) *keys.PublicKey {
	t.Helper()
	pub, err := keys.NewPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func trust(t testing.TB, ks ...*rsa.PrivateKey) *keys.TrustStore {
	t.Helper()
	var pubs []*keys.PublicKey
	for _, k := range ks {
		pubs = append(pubs, publicKey(t, k))
	}
	store, err := keys.NewTrustStore(pubs...)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func options(t testing.TB) Options {
	t.Helper()
	return Options{Key: testKey(), KeyID: publicKey(t, testKey()).ID, Hash: ima.SHA256}
}

var errDisk = errors.New("disk on fire")
