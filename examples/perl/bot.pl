# A Discord bot in Perl on Shardwright's C ABI, by way of FFI::Platypus: answers "!ping" with "Pong!".
# Run it with DISCORD_TOKEN set, and SHARDWRIGHT_LIBRARY where the library is not on the linker's path.
use strict;
use warnings;
use FFI::Platypus 2.00;
use JSON::PP;

use constant { OK => 0, E_CLOSED => -5, E_INTERRUPTED => -6, STOP_CLOSE => 1, NONE => 0xffffffff };
use constant { DISPATCH => 1, SHARD_STATE => 2, REPLY => 3, FATAL => 9 };

package ShardEvent {
    use FFI::Platypus::Record;
    record_layout_1(
        uint32 => 'kind', uint32 => 'shard_id', uint64 => 'seq', uint64 => 'guild_id', uint64 => 'command_id',
        sint64 => 'received_ns', opaque => 'name', size_t => 'name_len', opaque => 'data', size_t => 'data_len',
        sint32 => 'status', uint32 => 'flags', opaque => 'owner', uint64 => 'reserved_0', uint64 => 'reserved_1',
    );
}

my $ffi = FFI::Platypus->new(api => 2, lib => $ENV{SHARDWRIGHT_LIBRARY} // 'libshardwright.so.0');
$ffi->type('record(ShardEvent)*' => 'shard_event');
$ffi->attach(shard_abi_version => [] => 'uint32');
$ffi->attach(shard_last_error => ['opaque', 'size_t'] => 'size_t');
$ffi->attach(shard_client_new => ['string', 'size_t'] => 'opaque');
$ffi->attach(shard_client_start => ['opaque'] => 'sint32');
$ffi->attach(shard_client_stop => ['opaque', 'uint32', 'sint32'] => 'sint32');
$ffi->attach(shard_client_free => ['opaque'] => 'void');
$ffi->attach(shard_client_poll_event => ['opaque', 'shard_event', 'sint32'] => 'sint32');
$ffi->attach(shard_event_release => ['shard_event'] => 'void');
$ffi->attach(shard_client_send_command => ['opaque', 'string', 'size_t', 'opaque'] => 'sint32');

# Copies bytes out of C; a NULL pointer is empty.
sub bytes { my ($pointer, $length) = @_; return $length ? unpack("P$length", pack('J', $pointer)) : '' }

# Says what went wrong last in this thread.
sub check {
    my ($ok, $what) = @_;
    return if $ok;
    my $buffer = "\0" x 512;
    my $length = shard_last_error(unpack('J', pack('P', $buffer)), 512);
    die "$what: " . substr($buffer, 0, $length) . "\n";
}

sub on_event {
    my ($client, $kind, $shard, $status, $name, $data) = @_;
    if ($kind == DISPATCH) {    # the only one asked for is MESSAGE_CREATE
        my $message = decode_json($data);
        return if $message->{content} ne '!ping';
        print "shard $shard: !ping in channel $message->{channel_id}, answering\n";
        my $json = encode_json({
            type => 'rest', method => 'POST', path => "/channels/$message->{channel_id}/messages",
            body => { content => 'Pong!' },
        });
        check(shard_client_send_command($client, $json, length $json, undef) == OK, 'send_command');
    } elsif ($kind == REPLY) {
        print "answered with status $status\n";
    } elsif ($kind == SHARD_STATE) {
        my $who = $shard == NONE ? 'all shards' : "shard $shard";
        print "$who: $name (", decode_json($data)->{reason} // '', ")\n";
    } elsif ($kind == FATAL) {
        die 'refused: ', decode_json($data)->{reason}, "\n";
    }
}

$| = 1;
binmode STDOUT, ':encoding(UTF-8)';
check(shard_abi_version() >> 16 == 1, 'this library speaks another ABI');
my $config = encode_json({
    intents => [qw(GUILDS GUILD_MESSAGES MESSAGE_CONTENT)], events => ['MESSAGE_CREATE'], log => { to => 'none' },
});
my $client = shard_client_new($config, length $config);
check(defined $client, 'shard_client_new');
# Perl runs a handler between two of its own steps. A stop that does not wait: the loop goes on to the end.
$SIG{INT} = $SIG{TERM} = sub { shard_client_stop($client, STOP_CLOSE, 0) };
check(shard_client_start($client) == OK, 'shard_client_start');

my $event = ShardEvent->new;
my $polled = 0;
until ($polled == E_CLOSED) {
    # A signal ends the wait with INTERRUPTED. One that came just before it began does not, hence the second.
    $polled = shard_client_poll_event($client, $event, 1000);
    check($polled >= 0 || $polled == E_CLOSED || $polled == E_INTERRUPTED, 'poll_event');
    next unless $polled == 1;
    my $name = bytes($event->name, $event->name_len);
    my $data = bytes($event->data, $event->data_len);
    shard_event_release($event);    # all is copied
    on_event($client, $event->kind, $event->shard_id, $event->status, $name, $data);
}
shard_client_free($client);
