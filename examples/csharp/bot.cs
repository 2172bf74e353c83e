// A Discord bot in C# on Shardwright's C ABI: answers "!ping" with "Pong!". Mono.Unix is only for SIGTERM.
// Run it with DISCORD_TOKEN set, and libshardwright.so on the linker's path.
using System;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using Mono.Unix;
using Mono.Unix.Native;
static class Native {
    public const int Ok = 0, Closed = -5, Interrupted = -6;
    public const uint Dispatch = 1, ShardState = 2, Reply = 3, Fatal = 9, StopClose = 1, None = uint.MaxValue;

    [StructLayout(LayoutKind.Sequential)]
    public struct Event {
        public uint Kind, ShardId;
        public ulong Seq, GuildId, CommandId;
        public long ReceivedNs;
        public IntPtr Name; public UIntPtr NameLen;
        public IntPtr Data; public UIntPtr DataLen;
        public int Status; public uint Flags;
        public IntPtr Owner; public ulong Reserved0, Reserved1;
    }

    const string Library = "libshardwright.so.0";
    [DllImport(Library)] public static extern uint shard_abi_version();
    [DllImport(Library)] public static extern UIntPtr shard_last_error(byte[] buf, UIntPtr cap);
    [DllImport(Library)] public static extern IntPtr shard_client_new(byte[] json, UIntPtr len);
    [DllImport(Library)] public static extern int shard_client_start(IntPtr client);
    [DllImport(Library)] public static extern int shard_client_stop(IntPtr client, uint how, int timeoutMs);
    [DllImport(Library)] public static extern void shard_client_free(IntPtr client);
    [DllImport(Library)] public static extern int shard_client_poll_event(IntPtr client, out Event e, int timeoutMs);
    [DllImport(Library)] public static extern void shard_event_release(ref Event e);
    [DllImport(Library)] public static extern int shard_event_get(
        ref Event e, byte[] pointer, UIntPtr len, out IntPtr text, out UIntPtr textLen);
    [DllImport(Library)] public static extern int send_command(
        IntPtr client, byte[] json, UIntPtr len, IntPtr commandId);
}

static class Bot {
    const string Config = @"{""intents"": [""GUILDS"", ""GUILD_MESSAGES"", ""MESSAGE_CONTENT""],
        ""events"": [""MESSAGE_CREATE""], ""log"": {""to"": ""none""}}";

    static UIntPtr Length(byte[] bytes) => (UIntPtr)bytes.Length;
    // Says what went wrong in the call just made. The text belongs to the thread of that call.
    static void Check(bool ok, string what) {
        if (ok) return;
        var why = new byte[512];
        Native.shard_last_error(why, Length(why));
        Console.Error.WriteLine($"{what}: {Encoding.UTF8.GetString(why).TrimEnd('\0')}");
        Environment.Exit(1);
    }

    // Copies text out of an event. Lengths are in bytes, and nothing is NUL-terminated.
    static string Text(IntPtr text, UIntPtr length) {
        var bytes = new byte[(int)length];
        if (bytes.Length > 0) Marshal.Copy(text, bytes, 0, bytes.Length);
        return Encoding.UTF8.GetString(bytes);
    }

    static string Field(ref Native.Event e, string pointer) {
        var path = Encoding.UTF8.GetBytes(pointer);
        var found = Native.shard_event_get(ref e, path, Length(path), out var text, out var length);
        return found == Native.Ok ? Text(text, length) : "";
    }

    static void OnEvent(IntPtr client, ref Native.Event e) {
        if (e.Kind == Native.Dispatch && Field(ref e, "/content") == "!ping") {
            var json = Encoding.UTF8.GetBytes(@"{""type"": ""rest"", ""method"": ""POST"", ""path"": ""/channels/"
                + Field(ref e, "/channel_id") + @"/messages"", ""body"": {""content"": ""Pong!""}}");
            Check(Native.send_command(client, json, Length(json), IntPtr.Zero) == Native.Ok, "send_command");
        } else if (e.Kind == Native.Reply) {
            Console.WriteLine($"answered with status {e.Status}");
        } else if (e.Kind == Native.ShardState && e.ShardId != Native.None) {
            Console.WriteLine($"shard {e.ShardId}: {Text(e.Name, e.NameLen)} ({Field(ref e, "/reason")})");
        } else if (e.Kind == Native.Fatal) {
            Console.Error.WriteLine($"refused: {Field(ref e, "/reason")}");
            Environment.Exit(1);
        }
    }

    static void Main() {
        Check(Native.shard_abi_version() >> 16 == 1, "this library speaks another ABI");
        var config = Encoding.UTF8.GetBytes(Config);
        var client = Native.shard_client_new(config, Length(config));
        Check(client != IntPtr.Zero, "shard_client_new");
        Check(Native.shard_client_start(client) == Native.Ok, "shard_client_start");
        var signals = new[] { new UnixSignal(Signum.SIGINT), new UnixSignal(Signum.SIGTERM) };
        new Thread(() => { // a stop that does not wait: the poll below goes on to the end of the stream
            UnixSignal.WaitAny(signals);
            Native.shard_client_stop(client, Native.StopClose, 0);
        }) { IsBackground = true }.Start();
        for (var polled = 0; polled != Native.Closed;) {
            polled = Native.shard_client_poll_event(client, out var e, -1);
            Check(polled >= 0 || polled == Native.Closed || polled == Native.Interrupted, "poll_event");
            if (polled == 1) { OnEvent(client, ref e); Native.shard_event_release(ref e); }
        }
        Native.shard_client_free(client);
    }
}
