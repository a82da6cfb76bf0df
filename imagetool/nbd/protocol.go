package nbd

import "encoding/binary"

var be = binary.BigEndian

// Magic numbers of the handshake and of the transmission.
const (
	magicInit       = 0x4e42444d41474943 // NBDMAGIC
	magicOption     = 0x49484156454f5054 // IHAVEOPT
	magicReply      = 0x3e889045565a9    // of an option
	magicRequest    = 0x25609513         // NBD_REQUEST_MAGIC
	magicSimple     = 0x67446698         // NBD_SIMPLE_REPLY_MAGIC
	magicStructured = 0x668e33ef         // NBD_STRUCTURED_REPLY_MAGIC
)

// Handshake flags, which client and server share.
const (
	fixedNewstyle = 1 << 0 // NBD_FLAG_FIXED_NEWSTYLE
	noZeroes      = 1 << 1 // NBD_FLAG_NO_ZEROES
)

// Options.
const (
	optExportName      = 1  // NBD_OPT_EXPORT_NAME
	optGo              = 7  // NBD_OPT_GO
	optStructuredReply = 8  // NBD_OPT_STRUCTURED_REPLY
	optSetMetaContext  = 10 // NBD_OPT_SET_META_CONTEXT
)

// Replies to options.
const (
	repAck         = 1       // NBD_REP_ACK
	repInfo        = 3       // NBD_REP_INFO
	repMetaContext = 4       // NBD_REP_META_CONTEXT
	repError       = 1 << 31 // the bit that errors have
	repErrUnsup    = repError + 1
	infoExport     = 0 // NBD_INFO_EXPORT
)

// Transmission flags.
const (
	flagReadOnly    = 1 << 1 // NBD_FLAG_READ_ONLY
	flagFlush       = 1 << 2 // NBD_FLAG_SEND_FLUSH
	flagWriteZeroes = 1 << 6 // NBD_FLAG_SEND_WRITE_ZEROES
)

// Requests.
const (
	cmdRead        = 0 // NBD_CMD_READ
	cmdWrite       = 1 // NBD_CMD_WRITE
	cmdDisconnect  = 2 // NBD_CMD_DISC
	cmdFlush       = 3 // NBD_CMD_FLUSH
	cmdWriteZeroes = 6 // NBD_CMD_WRITE_ZEROES
	cmdBlockStatus = 7 // NBD_CMD_BLOCK_STATUS
)

// Chunks of structured replies.
const (
	chunkDone        = 1 << 0    // NBD_REPLY_FLAG_DONE
	chunkNone        = 0         // NBD_REPLY_TYPE_NONE
	chunkData        = 1         // NBD_REPLY_TYPE_OFFSET_DATA
	chunkHole        = 2         // NBD_REPLY_TYPE_OFFSET_HOLE
	chunkBlockStatus = 5         // NBD_REPLY_TYPE_BLOCK_STATUS
	chunkError       = 1<<15 + 1 // NBD_REPLY_TYPE_ERROR
	chunkErrorOffset = 1<<15 + 2 // NBD_REPLY_TYPE_ERROR_OFFSET
	stateZero        = 1 << 1    // NBD_STATE_ZERO of "base:allocation"
	allocation       = "base:allocation"
)

// Bounds on what a server may say.
const (
	maxOptionReply = 64 << 10 // bytes in one reply to an option
	maxReplies     = 32       // to one option
	maxMessage     = 4096     // bytes of a message for people, as the protocol has it
	maxExtents     = 1 << 16  // in one reply to a block status
	maxErrors      = 16       // error chunks in one reply
	maxPayload     = 1 << 20  // bytes that one request reads or writes
	maxStatus      = 1 << 30  // bytes that one block status asks about
)
