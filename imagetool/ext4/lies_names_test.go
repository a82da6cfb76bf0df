package ext4

import "testing"

// TestDirectoryLies are directories that two readers could read in two ways.
func TestDirectoryLies(t *testing.T) {
	m := bareImage(t)
	l := newLiar(t, m)
	root := func(edit func(b []byte)) func(m memory) { return l.block("/", 0, edit) }
	name := func(name string, edit func(e []byte)) func(m memory) {
		return root(func(b []byte) { edit(direntry(t, b, name)) })
	}
	big := lookup(t, l.fs, "/big")
	last := func(n int) func(b []byte) { // lengthens the last entry of a block
		return func(b []byte) {
			for p := 0; ; p += int(le.Uint16(b[p+deOffRecLen:])) {
				if p+int(le.Uint16(b[p+deOffRecLen:])) == len(b) {
					add16(deOffRecLen, n)(b[p:])
					return
				}
			}
		}
	}
	refuseLies(t, m, []lie{
		{"type of dot", "has file type 1", root(func(b []byte) { b[deOffFileType] = 1 })},
		{"no dot", "does not begin with", root(func(b []byte) { b[deHeader] = 'x' })},
		{"size", "is not a number of blocks", l.inode("/", add32(inSizeLo, 4))},
		{"hole", "is a hole", l.inode("/lost+found", func(raw []byte) {
			add16(inBlock+exEntrySize+exOffLen, -1)(raw)
			add32(inBlocksLo, -2)(raw)
		})},
		{"slash", "is impossible", name("fragmented", func(e []byte) { e[deHeader+2] = '/' })},
		{"inode", "which does not exist", name("fragmented", put32(0, 99999))},
		{"length", "for a name of", root(last(4))},
		{"past the end", "runs past the block", root(last(-4))},
		{"type", "directory entry has file type", name("fragmented", func(e []byte) { e[deOffFileType] = 2 })},
		{"parent", "\"..\" is inode", l.block("/big", 0, put32(deMinLen, 11))},
		{"two names", "has another name", name("fragmented", func(e []byte) { put32(0, big.Number)(e); e[deOffFileType] = 2 })},
		{"no root", "no root directory", func(m memory) {
			l.inode("/", put16(inMode, modeRegular|0o755))(m)
			l.desc(func(_, d []byte) { d[gdUsedDirsLo]-- })(m)
		}},
		{"tree without the feature", "has a hash tree, but", l.super(clear32(sbFeatureCompat, compatDirIndex))},
		{"unknown hash", "not one that is known", l.block("/big", 0, func(b []byte) { b[dxRootInfo+dxOffVersion] = 7 })},
		{"room", "expected room for", l.block("/big", 0, add16(dxRootEntries, 1))},
		{"order of hashes", "out of order", func(m memory) {
			b := l.at(m, dirBlock(t, l.fs, roleNode))
			put32(dxNodeEntries+2*dxEntrySize, 0)(b)
		}},
		{"block of the tree", "does not exist or is used twice", func(m memory) {
			put32(dxNodeEntries+dxEntrySize+4, 9999)(l.at(m, dirBlock(t, l.fs, roleNode)))
		}},
		{"not a node", "is not a node", func(m memory) { l.at(m, dirBlock(t, l.fs, roleNode))[0] = 2 }},
		{"lost leaf", "hash tree does not lead to block", func(m memory) { add16(dxNodeEntries+2, -1)(l.at(m, dirBlock(t, l.fs, roleNode))) }},
	})
	m = richImage(t)
	l = newLiar(t, m)
	refuseLies(t, m, []lie{{"checksum", "no room for its checksum", func(m memory) {
		b := l.at(m, dirBlock(t, l.fs, roleLeaf))
		b[len(b)-deTailSize+deOffFileType]--
	}}})
	m = smallImage(t, "-I", "128", "-O", "^metadata_csum,^uninit_bg,^has_journal,^resize_inode")
	l = newLiar(t, m)
	refuseLies(t, m, []lie{{"name", "is there twice", l.block("/", 0, func(b []byte) { copy(direntry(t, b, "both")[deHeader:], "body") })}})
}

// TestAttributeLies are attributes that two readers could read in two ways.
func TestAttributeLies(t *testing.T) {
	m := smallImage(t, "-I", "128", "-O", "^metadata_csum,^uninit_bg,^has_journal,^resize_inode")
	l := newLiar(t, m)
	block := lookup(t, l.fs, "/block")
	edit := func(f func(b []byte)) func(m memory) { return func(m memory) { f(l.at(m, block.acl)) } }
	refuseLies(t, m, []lie{
		{"magic", "no magic number", edit(put16(0, 7))},
		{"blocks", "h_blocks is 2", edit(put32(xaOffBlocks, 2))},
		{"no references", "h_refcount is 0, but more", edit(put32(xaOffRefcount, 0))},
		{"more references", "h_refcount is 1, but more", l.inode("/plain", func(raw []byte) {
			put32(inFileACLLo, uint32(block.acl))(raw)
			add32(inBlocksLo, 2)(raw)
		})},
		{"no index", "has no name index", edit(func(b []byte) { b[xaBlockHeader+xaOffNameIndex] = 0 })},
		{"overlap", "overlap", edit(func(b []byte) {
			next := xaBlockHeader + pad4(xaEntryHeader+int(b[xaBlockHeader]))
			copy(b[next+xaOffValue:][:2], b[xaBlockHeader+xaOffValue:])
		})},
	})
	m = smallImage(t, "-I", "256", "-O", "^metadata_csum,^uninit_bg,^has_journal,^resize_inode")
	l = newLiar(t, m)
	body := func(f func(area []byte)) func(m memory) {
		return l.inode("/body", func(raw []byte) {
			in := &Inode{raw: raw}
			f(in.bodyArea()[xaBodyHeader:])
		})
	}
	refuseLies(t, m, []lie{
		{"name", "name runs past its area", body(func(area []byte) { area[0] = 255 })},
		{"list", "run past their area", body(func(area []byte) {
			area[0] = byte(len(area) - xaEntryHeader)
			for i := range area[xaEntryHeader:] {
				area[xaEntryHeader+i] = 'n'
			}
			put32(xaOffValueSize, 0)(area)
			put32(xaOffEntryHash, 0)(area)
		})},
		{"hash in the inode", "hash of", body(put32(xaOffEntryHash, 77))},
		{"label twice in the inode", "is there twice", l.inode("/body", twice(indexSecurity, imaName))},
		{"label in the inode and in its block", "is there twice", func(m memory) {
			l.inode("/both", func(raw []byte) {
				putEntries((&Inode{raw: raw}).bodyArea()[xaBodyHeader:], 0, []entry{imaEntry([]byte("x"), false)})
			})(m)
			raw := l.at(m, lookup(t, l.fs, "/both").acl)
			putEntries(raw, xaBlockHeader, []entry{imaEntry([]byte("y"), true)})
			le.PutUint32(raw[xaOffHash:], 0)
		}},
	})
}

// twice leaves an inode with two attributes of the same name.
func twice(index byte, name string) func(raw []byte) {
	return func(raw []byte) {
		e := entry{index: index, name: name, value: []byte("y")}
		putEntries((&Inode{raw: raw}).bodyArea()[xaBodyHeader:], 0, []entry{e, e})
	}
}

// signClean signs what e2fsck finds clean, and it finds it clean again.
func signClean(t *testing.T, m memory) {
	t.Helper()
	fsckMemory(t, m)
	_, l := mustCheck(t, m)
	commit(t, stage(t, l, EditOptions{DropEVM: true}, 265), m)
}
