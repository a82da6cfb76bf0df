package ext4

// With the feature bigalloc, space is given out in clusters of several blocks:
// the block bitmaps have a bit for each cluster, group descriptors count free
// clusters, and what belongs to an inode takes whole clusters, which i_blocks
// counts. Block numbers and the counts of the superblock are in blocks as ever.
// Without the feature a cluster is a block.

// maxLogClusterSize is 256 MiB. mke2fs makes 512 MiB too (EXT2_MAX_CLUSTER_LOG_SIZE),
// but the blocks of a group then overflow the 32 bits in which e2fsck counts them.
const maxLogClusterSize = 18

// maxClustersPerGroup is EXT2_MAX_CLUSTERS_PER_GROUP of e2fsprogs.
const maxClustersPerGroup = 1<<16 - 8

func (sb *superblock) decodeClusters() {
	sb.clustersPerGroup = uint64(sb.u32(sbClustersPerGroup))
	block, cluster := sb.u32(sbLogBlockSize), sb.u32(sbLogClusterSize)
	if sb.has(roCompat, roBigalloc) && block < cluster && cluster <= maxLogClusterSize {
		sb.clusterBits = uint64(cluster - block)
	}
}

// checkClusters holds the sizes of clusters to what ext4_handle_clustersize and
// e2fsck accept.
func (sb *superblock) checkClusters() []*RefusedError {
	bad := func(format string, args ...any) []*RefusedError {
		return []*RefusedError{incurable("superblock: "+format, args...)}
	}
	block, cluster := sb.u32(sbLogBlockSize), sb.u32(sbLogClusterSize)
	switch bigalloc := sb.has(roCompat, roBigalloc); {
	case !bigalloc && (cluster != block || sb.clustersPerGroup != sb.blocksPerGroup):
		return bad("clusters are not blocks, but the feature bigalloc is missing")
	case bigalloc && !sb.has(incompat, incompatExtents):
		return []*RefusedError{damaged("superblock: has the feature bigalloc, but not extent")}
	case cluster == maxLogClusterSize+1:
		return []*RefusedError{refuse("make it anew with smaller clusters", "clusters of 512 MiB are more than e2fsck can check")}
	case cluster < block || cluster > maxLogClusterSize:
		return bad("s_log_cluster_size %d is out of range", cluster)
	case sb.clustersPerGroup < minClustersPerGroup || sb.clustersPerGroup > min(sb.blockSize*8, maxClustersPerGroup) || sb.clustersPerGroup%8 != 0:
		return bad("s_clusters_per_group %d is out of range", sb.clustersPerGroup)
	case sb.blocksPerGroup != sb.clustersPerGroup<<sb.clusterBits:
		return bad("s_blocks_per_group is %d, but a group has %d clusters of %d blocks", sb.blocksPerGroup, sb.clustersPerGroup, sb.clusterBlocks())
	}
	return nil
}

// clusterBlocks is how many blocks a cluster has.
func (sb *superblock) clusterBlocks() uint64 { return 1 << sb.clusterBits }

// clusterSize is in bytes (EXT4_CLUSTER_SIZE).
func (sb *superblock) clusterSize() uint64 { return sb.blockSize << sb.clusterBits }

// clusterOf numbers clusters from the start of the first group (EXT4_B2C).
func (sb *superblock) clusterOf(block uint64) uint64 { return (block - sb.firstData) >> sb.clusterBits }

// clusterStart is the first block of a cluster (EXT4_C2B).
func (sb *superblock) clusterStart(cluster uint64) uint64 {
	return cluster<<sb.clusterBits + sb.firstData
}

// clusters are those that count blocks, at least one, have a part in.
func (sb *superblock) clusters(block, count uint64) (first, n uint64) {
	first = sb.clusterOf(block)
	return first, sb.clusterOf(block+count-1) - first + 1
}

// unit is what space is given out in.
func (sb *superblock) unit() string {
	if sb.clusterBits > 0 {
		return "clusters"
	}
	return "blocks"
}

// groupClusters is how many clusters group g has, the last one perhaps in part
// (num_clusters_in_group).
func (sb *superblock) groupClusters(g uint64) uint64 {
	return (sb.groupEnd(g) - sb.groupStart(g) + sb.clusterBlocks() - 1) >> sb.clusterBits
}
