// The mesh, the points of the first frame and the path, in WebGL. World = axes of the first camera (x right, y down).

const FIELD = Math.PI / 4;

const Mat = { // 4x4, column-major
  identity: () => [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
  multiply(a, b) {
    const out = new Array(16);
    for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) {
      out[c * 4 + r] = a[r] * b[c * 4] + a[4 + r] * b[c * 4 + 1] + a[8 + r] * b[c * 4 + 2] + a[12 + r] * b[c * 4 + 3];
    }
    return out;
  },
  inverse(m) { // of a rigid transform
    const t = [m[12], m[13], m[14]], move = (i) => -(m[i * 4] * t[0] + m[i * 4 + 1] * t[1] + m[i * 4 + 2] * t[2]);
    return [m[0], m[4], m[8], 0, m[1], m[5], m[9], 0, m[2], m[6], m[10], 0, move(0), move(1), move(2), 1];
  },
  apply: (m, p) => [0, 1, 2].map((r) => m[r] * p[0] + m[4 + r] * p[1] + m[8 + r] * p[2] + m[12 + r]),
  pose(rows, index) { // from 3x4 row-major
    const at = (r, c) => rows[index * 12 + r * 4 + c], out = Mat.identity();
    for (let r = 0; r < 3; r++) for (let c = 0; c < 4; c++) out[c * 4 + r] = at(r, c);
    return out;
  },
};

const Vec = {
  add: (a, b, s = 1) => a.map((x, i) => x + s * b[i]),
  cross: (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]],
  dot: (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2],
  length: (a) => Math.hypot(...a),
  unit: (a) => a.map((x) => x / (Math.hypot(...a) || 1)),
};

const SHADERS = {
  points: [`attribute vec3 position; attribute vec3 color; uniform mat4 transform; uniform float size; varying vec3 tint;
    void main() { gl_Position = transform * vec4(position, 1.0); gl_PointSize = clamp(size * position.z / gl_Position.w, 1.5, 24.0); tint = color; }`,
  `precision mediump float; varying vec3 tint; void main() { gl_FragColor = vec4(tint, 1.0); }`],
  mesh: [`attribute vec3 position; attribute vec3 color; attribute vec3 normal; uniform mat4 transform; uniform mat4 turn; varying vec3 tint;
    void main() { gl_Position = transform * vec4(position, 1.0); vec3 n = normalize((turn * vec4(normal, 0.0)).xyz);
    tint = min(color * (0.62 + 0.5 * abs(n.z)), 1.0); }`,
  `precision mediump float; varying vec3 tint; void main() { gl_FragColor = vec4(tint, 1.0); }`],
  // A segment is a strip of two triangles as wide as asked, since WebGL's own lines are one pixel wide.
  lines: [`attribute vec3 a; attribute vec3 b; attribute vec2 corner; uniform mat4 transform; uniform vec2 screen; uniform float width; uniform float lift;
    void main() { vec4 p = transform * vec4(a, 1.0), q = transform * vec4(b, 1.0); float near = 0.002;
    if (p.w < near && q.w < near) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); return; }
    if (p.w < near) p = mix(p, q, (near - p.w) / (q.w - p.w)); if (q.w < near) q = mix(q, p, (near - q.w) / (p.w - q.w));
    vec2 along = (q.xy / q.w - p.xy / p.w) * screen; float size = length(along);
    along = size > 1e-4 ? along / size : vec2(1.0, 0.0); vec4 end = corner.x < 0.5 ? p : q;
    vec2 offset = vec2(-along.y, along.x) * corner.y + along * (corner.x < 0.5 ? -0.5 : 0.5);
    end.xy += offset * width / screen * end.w; end.z -= lift * end.w; gl_Position = end; }`,
  `precision mediump float; uniform vec4 color; void main() { gl_FragColor = color; }`],
};

class View3D {
  constructor(canvas, data) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl", { antialias: true });
    if (!this.gl) throw new Error("no WebGL");
    Object.assign(this, { data, index: 0, moving: data.moving, through: false, pointers: new Map() });
    this.show = { points: true, mesh: true, path: true };
    this.poses = unpack(data.poses);
    this.truths = data.truths && unpack(data.truths);
    this.count = this.poses.length / 12;
    this.programs = Object.fromEntries(Object.entries(SHADERS).map(([name, sources]) => [name, this.program(...sources)]));
    const { mesh, cloud } = data;
    this.cloud = { count: unpack(cloud.colors).length / 3, position: this.buffer(positions(cloud.positions)), color: this.buffer(unpack(cloud.colors)) };
    this.mesh = {
      position: this.buffer(positions(mesh.positions)), color: this.buffer(unpack(mesh.colors)), normal: this.buffer(unpack(mesh.normals)),
      faces: this.buffer(unpack(mesh.faces), this.gl.ELEMENT_ARRAY_BUFFER), count: unpack(mesh.faces).length,
    };
    this.distance0 = Vec.length(Mat.apply(Mat.pose(this.poses, 0), data.center));
    this.box = this.lines(boxEdges(data.corners));
    this.axes = [0, 1, 2].map((k) => this.lines([data.center, Vec.add(data.center, [0, 1, 2].map((i) => (i === k ? 0.6 * data.diameter : 0)))]));
    this.frustum = this.lines(frustumEdges(data.camera, 0.14 * this.distance0));
    this.move(this.moving);
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  program(vertex, fragment) {
    const { gl } = this, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "shader");
    return program;
  }

  buffer(values, target = this.gl.ARRAY_BUFFER) {
    const made = this.gl.createBuffer();
    this.gl.bindBuffer(target, made);
    this.gl.bufferData(target, values, this.gl.STATIC_DRAW);
    return made;
  }

  // `ends` holds the two ends of each segment one after the other.
  lines(ends) {
    const values = [];
    for (let i = 0; i + 1 < ends.length; i += 2) {
      for (const corner of [[0, -0.5], [1, -0.5], [1, 0.5], [0, -0.5], [1, 0.5], [0, 0.5]]) values.push(...ends[i], ...ends[i + 1], ...corner);
    }
    return { buffer: this.buffer(new Float32Array(values)), count: values.length / 8 };
  }

  // Where the object and the camera are in frame `index`, for the estimate or the ground truth; null where unknown.
  places(rows, index) {
    const pose = Mat.pose(rows, index);
    if (pose.some((x) => !Number.isFinite(x))) return null;
    if (this.moving === "object") return { object: pose, camera: Mat.identity() };
    const still = Mat.pose(this.poses, 0);
    return { object: still, camera: Mat.multiply(still, Mat.inverse(pose)) };
  }

  path(rows) {
    const points = [];
    for (let i = 0; i < this.count; i++) {
      const places = this.places(rows, i);
      points.push(places && (this.moving === "object" ? Mat.apply(places.object, this.data.center) : places.camera.slice(12, 15)));
    }
    return points;
  }

  move(what) {
    this.moving = what;
    const segments = (points) => points.slice(1).flatMap((point, i) => (point && points[i] ? [points[i], point] : []));
    const own = this.path(this.poses);
    this.paths = [{ color: "--prediction", width: 2.5, line: this.lines(segments(own)) }];
    if (this.truths) this.paths.unshift({ color: "--truth", width: 5, lift: 0.0001, line: this.lines(segments(this.path(this.truths))) });
    const object = this.places(this.poses, 0).object;
    this.fitted = [...own.filter(Boolean), ...this.data.corners.map((corner) => Mat.apply(object, corner))];
    this.reset();
  }

  // The path and the object fill the view, seen from above and the side of the first camera.
  reset() {
    Object.assign(this, { yaw: -0.6, pitch: 0.3, through: false });
    const axes = this.viewAxes(), extents = axes.map((axis) => {
      const along = this.fitted.map((point) => Vec.dot(point, axis));
      return [Math.min(...along), Math.max(...along)];
    });
    const middle = extents.map(([low, high]) => (low + high) / 2), half = extents.map(([low, high]) => (high - low) / 2);
    this.target = [0, 1, 2].map((k) => axes.reduce((sum, axis, i) => sum + axis[k] * middle[i], 0));
    const aspect = this.canvas.width / this.canvas.height || 1, wide = Math.max(half[0] / Math.max(aspect, 1), half[1] * Math.min(aspect, 1));
    this.distance = half[2] + Math.max(1.3 * wide, 0.7 * this.data.diameter) / Math.tan(FIELD / 2);
    this.redraw();
  }

  goto(index) { this.index = index; this.redraw(); }

  resize() {
    const scale = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * scale));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * scale));
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  viewAxes() { // right, up, and from the target to the eye
    const flat = Math.cos(this.pitch), z = [flat * Math.sin(this.yaw), -Math.sin(this.pitch), -flat * Math.cos(this.yaw)];
    const x = Vec.unit(Vec.cross([0, -1, 0], z));
    return [x, Vec.cross(z, x), z];
  }

  viewAndProjection() {
    const aspect = this.canvas.width / this.canvas.height, near = 0.01 * this.distance0, far = 60 * this.distance0;
    const depth = [(far + near) / (near - far), 2 * far * near / (near - far)];
    if (this.through) { // the recording camera, in whose picture y runs down and z forward
      const { K, width, height } = this.data.camera, s = Math.min(aspect * height / width, 1);
      const projection = [2 * K[0][0] / width * s * (width / height) / aspect, 0, 0, 0, 0, 2 * K[1][1] / height * s, 0, 0,
        (1 - (2 * K[0][2] + 1) / width) * s, ((2 * K[1][2] + 1) / height - 1) * s, depth[0], -1, 0, 0, depth[1], 0];
      const flip = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1];
      return [Mat.multiply(flip, Mat.inverse(this.places(this.poses, this.index).camera)), projection];
    }
    const [x, y, z] = this.viewAxes(), eye = Vec.add(this.target, z, this.distance);
    const world = [...x, 0, ...y, 0, ...z, 0, ...eye, 1], f = 1 / Math.tan(FIELD / 2) * Math.min(1, aspect);
    return [Mat.inverse(world), [f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, depth[0], -1, 0, 0, depth[1], 0]];
  }

  attribute(program, name, buffer, size, type, normalized = false, stride = 0, offset = 0) {
    const { gl } = this, place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalized, stride, offset);
  }

  use(name, uniforms) {
    const { gl } = this, program = this.programs[name];
    gl.useProgram(program);
    for (const [key, value] of Object.entries(uniforms)) {
      const place = gl.getUniformLocation(program, key);
      if (value.length === 16) gl.uniformMatrix4fv(place, false, value);
      else gl[`uniform${value.length}fv`](place, value);
    }
    return program;
  }

  drawLines({ buffer, count }, transform, color, width, lift = 0.0004) { // what is lifted more lies on top
    if (!count) return;
    const { gl, canvas } = this, scale = canvas.width / Math.max(canvas.clientWidth, 1);
    const program = this.use("lines", { transform, color: [...color, 1], width: [2 * width * scale], lift: [lift], screen: [canvas.width, canvas.height] });
    this.attribute(program, "a", buffer, 3, gl.FLOAT, false, 32, 0);
    this.attribute(program, "b", buffer, 3, gl.FLOAT, false, 32, 12);
    this.attribute(program, "corner", buffer, 2, gl.FLOAT, false, 32, 24);
    gl.drawArrays(gl.TRIANGLES, 0, count);
  }

  draw() {
    const { gl, canvas } = this, [view, projection] = this.viewAndProjection(), both = Mat.multiply(projection, view);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(...themeColor("--sky"), 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const places = this.places(this.poses, this.index), truth = this.truths && this.places(this.truths, this.index);
    if (this.show.points) {
      const spacing = 0.75 * this.data.cloud.spacing * canvas.height * projection[5]; // neighbours touch
      const program = this.use("points", { transform: both, size: [spacing] });
      this.attribute(program, "position", this.cloud.position, 3, gl.FLOAT);
      this.attribute(program, "color", this.cloud.color, 3, gl.UNSIGNED_BYTE, true);
      gl.drawArrays(gl.POINTS, 0, this.cloud.count);
    }
    const posed = Mat.multiply(both, places.object);
    if (this.show.mesh) {
      const program = this.use("mesh", { transform: posed, turn: Mat.multiply(view, places.object) });
      this.attribute(program, "position", this.mesh.position, 3, gl.FLOAT);
      this.attribute(program, "color", this.mesh.color, 3, gl.UNSIGNED_BYTE, true);
      this.attribute(program, "normal", this.mesh.normal, 3, gl.BYTE, true);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.mesh.faces);
      gl.drawElements(gl.TRIANGLES, this.mesh.count, gl.UNSIGNED_SHORT, 0);
    }
    if (!this.show.path) return;
    for (const { line, color, width, lift } of this.paths) this.drawLines(line, both, themeColor(color), width, lift);
    if (truth && this.moving === "object") this.drawLines(this.box, Mat.multiply(both, truth.object), themeColor("--truth"), 4, 0.0001);
    if (truth && this.moving === "camera" && !this.through) this.drawLines(this.frustum, Mat.multiply(both, truth.camera), themeColor("--truth"), 4, 0.0001);
    this.drawLines(this.box, posed, themeColor("--prediction"), 1.6);
    if (!this.through) this.drawLines(this.frustum, Mat.multiply(both, places.camera), themeColor("--prediction"), 1.8);
    [[0.92, 0.2, 0.2], [0.2, 0.75, 0.25], [0.25, 0.45, 1]].forEach((color, k) => this.drawLines(this.axes[k], posed, color, 2.6));
  }

  turn(dx, dy) {
    this.through = false;
    this.yaw += dx * 0.008;
    this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + dy * 0.008));
    this.redraw();
  }

  shift(dx, dy) {
    const size = 2 * this.distance * Math.tan(FIELD / 2) / Math.max(Math.min(this.canvas.clientHeight, this.canvas.clientWidth), 1);
    const [x, y] = this.viewAxes();
    this.target = Vec.add(Vec.add(this.target, x, -dx * size), y, dy * size);
    this.through = false;
    this.redraw();
  }

  zoom(factor) {
    this.through = false;
    this.distance = Math.max(0.05 * this.distance0, Math.min(20 * this.distance0, this.distance * factor));
    this.redraw();
  }

  listen() {
    const { canvas, pointers } = this;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const dx = event.clientX - last.x, dy = event.clientY - last.y, before = this.spread();
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (pointers.size >= 2) { // two fingers move and pinch
        this.zoom(before / Math.max(this.spread(), 1));
        this.shift(dx / 2, dy / 2);
      } else if (event.buttons & 6 || event.shiftKey) this.shift(dx, dy);
      else this.turn(-dx, dy);
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(Math.exp(event.deltaY * 0.0012)); }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, 20], ArrowDown: [0, -20] }[event.key];
      const zoom = { "+": 0.85, "=": 0.85, "-": 1 / 0.85 }[event.key];
      if (turns) this.turn(...turns); else if (zoom) this.zoom(zoom); else if (event.key === "0") this.reset(); else return;
      event.preventDefault();
    });
  }

  spread() {
    const [a, b] = [...this.pointers.values()];
    return a && b ? Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1) : 1;
  }
}

function unpack({ type, base64 }) {
  const bytes = bytesOf(base64), kinds = { float32: Float32Array, uint16: Uint16Array, uint8: Uint8Array, int8: Int8Array };
  return new kinds[type](bytes.buffer);
}

function positions(packed) {
  return Float32Array.from(unpack(packed), (value, i) => value * packed.scale + packed.offset[i % 3]);
}

function bytesOf(base64) { return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)); }

function themeColor(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16) / 255);
}

function boxEdges(corners) { // corner i is on the far side of axis k where bit k of i is set
  const ends = [];
  for (let i = 0; i < 8; i++) for (let k = 0; k < 3; k++) if (!(i >> k & 1)) ends.push(corners[i], corners[i | 1 << k]);
  return ends;
}

function frustumEdges({ K, width, height }, depth) {
  const corners = [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]]
    .map(([u, v]) => [(u - K[0][2]) / K[0][0] * depth, (v - K[1][2]) / K[1][1] * depth, depth]);
  return corners.flatMap((corner, i) => [[0, 0, 0], corner, corner, corners[(i + 1) % 4]]);
}
