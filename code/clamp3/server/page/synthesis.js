// Notes as sound: a small additive synthesizer on WebAudio, one timbre per family of General MIDI programs.

const AHEAD = 1.5; // seconds scheduled in advance: timers of a page in the background fire once a second
const EVERY = 150; // ms between two looks at what is due
const VOICES = 96; // at most so many notes at a time
// Partials, attack and release in seconds, and whether the sound dies away by itself (time constant) or is held (0).
const TIMBRES = {
  struck: { partials: [1, 0.45, 0.22, 0.12, 0.06, 0.04], attack: 0.004, release: 0.18, decay: 0.9 },
  plucked: { partials: [1, 0.6, 0.35, 0.2, 0.12, 0.08, 0.04], attack: 0.002, release: 0.12, decay: 0.5 },
  organ: { partials: [1, 0.7, 0.5, 0.3, 0, 0.2, 0, 0.15], attack: 0.02, release: 0.06, decay: 0 },
  bowed: { partials: [1, 0.5, 0.4, 0.3, 0.22, 0.16, 0.1, 0.07], attack: 0.06, release: 0.14, decay: 0 },
  voice: { partials: [1, 0.55, 0.25, 0.1], attack: 0.07, release: 0.16, decay: 0 },
  brass: { partials: [0.8, 1, 0.75, 0.5, 0.35, 0.2, 0.1], attack: 0.03, release: 0.1, decay: 0 },
  reed: { partials: [1, 0.15, 0.7, 0.1, 0.4, 0.06, 0.2], attack: 0.025, release: 0.08, decay: 0 },
  pipe: { partials: [1, 0.25, 0.08], attack: 0.035, release: 0.1, decay: 0 },
};
const FAMILIES = ["struck", "plucked", "organ", "plucked", "plucked", "bowed", "voice", "brass",
  "reed", "pipe", "organ", "voice", "voice", "plucked", "struck", "pipe"]; // of eight programs each
const DRUMS = 9; // channel

/** Plays [start, seconds, pitch, velocity, program, channel] lists; sorted by start. */
export class Synthesis {
  constructor(notes, seconds) {
    this.notes = [...notes].sort((a, b) => a[0] - b[0]);
    this.duration = seconds;
    this.context = new AudioContext();
    this.out = new GainNode(this.context, { gain: 0.22 });
    // Chords of a full orchestra must not clip.
    this.out.connect(new DynamicsCompressorNode(this.context, { threshold: -18, ratio: 8 })).connect(this.context.destination);
    this.waves = new Map();
    this.voices = new Set();
    this.offset = 0; // position in the piece at which the clock stood at `started`
    this.started = null;
    this.onended = null;
  }

  get position() {
    if (this.started === null) return this.offset;
    return Math.min(this.duration, Math.max(this.offset, this.offset + this.context.currentTime - this.started));
  }

  get playing() {
    return this.started !== null;
  }

  async play() {
    if (this.playing) return;
    await this.context.resume();
    if (this.position >= this.duration) this.offset = 0;
    this.started = this.context.currentTime + 0.06;
    this.next = this.notes.findIndex((note) => note[0] + note[1] > this.offset);
    if (this.next < 0) this.next = this.notes.length;
    this.timer = setInterval(() => this.schedule(), EVERY);
    this.schedule();
  }

  pause() {
    this.offset = this.position;
    this.started = null;
    clearInterval(this.timer);
    for (const voice of this.voices) voice.stop();
    this.voices.clear();
  }

  seek(seconds) {
    const playing = this.playing;
    this.pause();
    this.offset = Math.max(0, Math.min(seconds, this.duration));
    if (playing) return this.play();
    return Promise.resolve();
  }

  close() {
    this.pause();
    this.context.close();
  }

  schedule() {
    if (this.position >= this.duration) {
      this.pause();
      this.offset = this.duration;
      this.onended?.();
      return;
    }
    const horizon = this.position + AHEAD;
    while (this.next < this.notes.length && this.notes[this.next][0] < horizon) {
      if (this.voices.size < VOICES) this.sound(this.notes[this.next]);
      this.next += 1;
    }
  }

  sound([start, seconds, pitch, velocity, program, channel]) {
    const cut = Math.max(0, this.offset - start); // of a note that sounds already
    const at = Math.max(this.context.currentTime, this.started + start - this.offset + cut);
    const length = Math.max(0.03, seconds - cut);
    const level = (velocity / 127) ** 1.5;
    if (channel === DRUMS) this.hit(pitch, level, at);
    else this.tone(TIMBRES[FAMILIES[program >> 3] ?? "struck"], 440 * 2 ** ((pitch - 69) / 12), level, at, length);
  }

  tone(timbre, frequency, level, at, length) {
    const oscillator = new OscillatorNode(this.context, { frequency, periodicWave: this.wave(timbre) });
    const gain = new GainNode(this.context, { gain: 0 });
    const end = at + length;
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(level, at + timbre.attack);
    // Low strings ring longer than high ones.
    if (timbre.decay) gain.gain.setTargetAtTime(0, at + timbre.attack, timbre.decay * Math.min(2, (220 / frequency) ** 0.4));
    gain.gain.setTargetAtTime(0, end, timbre.release / 3);
    this.start(oscillator, [gain], at, end + timbre.release * 2);
  }

  hit(pitch, level, at) {
    if (pitch <= 36 || (pitch > 40 && pitch < 51 && pitch % 2)) { // bass drum and toms: a falling tone
      const oscillator = new OscillatorNode(this.context, { frequency: 60 + pitch });
      const gain = new GainNode(this.context, { gain: level });
      oscillator.frequency.setTargetAtTime(40 + pitch / 2, at, 0.03);
      gain.gain.setTargetAtTime(0, at, 0.08);
      this.start(oscillator, [gain], at, at + 0.5);
      return;
    }
    const metal = pitch >= 42;
    const source = new AudioBufferSourceNode(this.context, { buffer: this.noise() });
    const filter = new BiquadFilterNode(this.context, { type: metal ? "highpass" : "bandpass", frequency: metal ? 7000 : 1800, Q: 0.7 });
    const gain = new GainNode(this.context, { gain: level * 0.5 });
    gain.gain.setTargetAtTime(0, at, metal && pitch >= 46 ? 0.25 : 0.06);
    this.start(source, [filter, gain], at, at + 0.9);
  }

  start(source, chain, at, end) {
    [source, ...chain, this.out].reduce((from, to) => from.connect(to));
    source.start(at);
    source.stop(end);
    this.voices.add(source);
    source.onended = () => {
      this.voices.delete(source);
      chain.at(-1).disconnect();
    };
  }

  wave(timbre) {
    if (!this.waves.has(timbre)) {
      const imaginary = [0, ...timbre.partials];
      this.waves.set(timbre, new PeriodicWave(this.context, { real: imaginary.map(() => 0), imag: imaginary }));
    }
    return this.waves.get(timbre);
  }

  noise() {
    if (!this.hiss) {
      this.hiss = new AudioBuffer({ length: this.context.sampleRate, sampleRate: this.context.sampleRate });
      const samples = this.hiss.getChannelData(0);
      for (let i = 0; i < samples.length; i += 1) samples[i] = Math.random() * 2 - 1;
    }
    return this.hiss;
  }
}
