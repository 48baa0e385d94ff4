/* causalclipseg: text-prompted lesion segmentation for ultrasound. C89 and C++98, with stdint.h.
 *
 * Generated from crates/capi by cbindgen, and compared with it by that crate's test `header`. How to build, link and use
 * the library: docs/embedding.md.
 *
 * Research software; not a medical device. */

#ifndef CAUSALCLIPSEG_H
#define CAUSALCLIPSEG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The longest side of a frame, in pixels.
 */
#define CCS_MAX_SIDE 16384

/**
 * One byte a pixel.
 */
#define CCS_FORMAT_GRAY8 0

/**
 * Two bytes a pixel, low byte first.
 */
#define CCS_FORMAT_GRAY16 1

/**
 * Three bytes a pixel: red, green, blue.
 */
#define CCS_FORMAT_RGB8 2

/**
 * Four bytes a pixel: blue, green, red, and one that is ignored.
 */
#define CCS_FORMAT_BGRA8 3

/**
 * A plane of luma, and one of blue and red differences side by side at half the width and height. As in all formats with
 * luma: ITU-R BT.601, black is 16 and white 235; odd sides are rounded up where they are halved.
 */
#define CCS_FORMAT_NV12 4

/**
 * A plane of luma, and one of blue and one of red differences, each at half the width and height.
 */
#define CCS_FORMAT_I420 5

/**
 * Luma, blue difference, luma, red difference: two pixels in four bytes.
 */
#define CCS_FORMAT_YUYV 6

/**
 * Blue difference, luma, red difference, luma: two pixels in four bytes.
 */
#define CCS_FORMAT_UYVY 7

/**
 * Three bytes a pixel: blue, green, red.
 */
#define CCS_FORMAT_BGR24 8

/**
 * Raised whenever a function, a struct or a constant changes in a way that an older host would notice.
 */
#define CCS_ABI_VERSION 4

/**
 * Nothing.
 */
#define CCS_LOG_OFF 0

/**
 * What went wrong and should not have: a defect, a stream that gave up.
 */
#define CCS_LOG_ERROR 1

/**
 * What may need a look: frames without a result, a GPU that is not used.
 */
#define CCS_LOG_WARN 2

/**
 * What happens once: a model that was opened.
 */
#define CCS_LOG_INFO 3

/**
 * Times and sizes, some a frame.
 */
#define CCS_LOG_DEBUG 4

/**
 * All there is, of the libraries below too.
 */
#define CCS_LOG_TRACE 5

/**
 * The most threads that share the work on one frame.
 */
#define CCS_MAX_THREADS 64

/**
 * The CPU computes.
 */
#define CCS_DEVICE_CPU 0

/**
 * A GPU of its own silicon computes where there is one that can, the CPU otherwise.
 */
#define CCS_DEVICE_AUTO 1

/**
 * A GPU computes, and the CPU where it can't or stops working.
 */
#define CCS_DEVICE_GPU 2

/**
 * The most prompts of one call or stream.
 */
#define CCS_MAX_PROMPTS 256

/**
 * The most frames that may wait in a stream.
 */
#define CCS_MAX_QUEUED_FRAMES 8

/**
 * A frame with its results.
 */
#define CCS_EVENT_FRAME 0

/**
 * A frame without a result, and why.
 */
#define CCS_EVENT_FAILED 1

/**
 * `model_index` and `every_nth` changed.
 */
#define CCS_EVENT_LEVEL 2

/**
 * The stream gave up, and why.
 */
#define CCS_EVENT_STOPPED 3

/**
 * It waits for the network.
 */
#define CCS_SUBMITTED 0

/**
 * It is left out, since the rate was lowered.
 */
#define CCS_SKIPPED 1

/**
 * It is dropped, since several threads submitted at once.
 */
#define CCS_DROPPED 2

/**
 * The queue is full and the frame was not taken; only with keep_order.
 */
#define CCS_FULL 3

/**
 * It shares the work on a model's frames.
 */
#define CCS_THREAD_WORKER 0

/**
 * It segments a stream's frames and calls the stream's callback.
 */
#define CCS_THREAD_STREAM 1

/**
 * The frame has no contrast.
 */
#define CCS_FLAG_BLANK_FRAME 1

/**
 * The frame is the last one, pixel for pixel.
 */
#define CCS_FLAG_FROZEN_FRAME 2

/**
 * The frame is noise, not an ultrasound image.
 */
#define CCS_FLAG_NOISE_FRAME 4

/**
 * The source says that the frame was lost, see ccs_frame.invalid.
 */
#define CCS_FLAG_INVALID_FRAME 8

/**
 * No pixel is above the threshold.
 */
#define CCS_FLAG_NOTHING_FOUND 16

/**
 * The score is too low to be relied on.
 */
#define CCS_FLAG_LOW_SCORE 32

/**
 * The prompt has words that the model's training never showed it.
 */
#define CCS_FLAG_UNKNOWN_WORDS 64

/**
 * The frame looks like none of the images that the model was trained on.
 */
#define CCS_FLAG_UNFAMILIAR_FRAME 128

/**
 * What became of a call: one of CCS_STATUS_*.
 */
typedef int32_t ccs_status;

/**
 * Called with each line for the log: its level, CCS_LOG_ERROR to CCS_LOG_TRACE, the module that it comes from, such as
 * "causalclipseg::stream", and one line of text. Both strings are lent until the call returns. It may be called from any thread
 * and from several at once. It must not throw, and must not call ccs_set_log; what other functions of this library log when
 * they are called in it is left out.
 */
typedef void (*ccs_log)(void *user, uint32_t level, const char *module, const char *message);

/**
 * Called first in each thread that the library starts, on that thread: to name it, to give it a priority. `kind` is one of
 * CCS_THREAD_*; `index` is a worker's number from 1, and 0 for a stream's thread. The call that starts the threads returns when
 * this has returned in all of them. It must not throw, and must not call this library.
 */
typedef void (*ccs_thread_start)(void *user, uint32_t kind, uint32_t index);

/**
 * How a model is made ready; null stands for one thread of the CPU, 64 cached prompts, no confounders, trained weights
 * only.
 */
typedef struct {
  /**
   * sizeof(ccs_model_options).
   */
  uint32_t struct_size;
  /**
   * Threads that share the work on one frame, the calling one among them, 1 to CCS_MAX_THREADS; 0 is 1.
   */
  uint32_t threads;
  /**
   * Prompts whose encoding is kept; 0 is 64.
   */
  uint32_t cached_prompts;
  /**
   * 1 to compute the confounder map too, which costs time, or 0.
   */
  uint32_t confounders;
  /**
   * 1 to open weights that were never trained, whose masks mean nothing, or 0.
   */
  uint32_t allow_untrained;
  /**
   * What computes a frame, one of CCS_DEVICE_*. A library built without GPUs refuses CCS_DEVICE_GPU.
   */
  uint32_t device;
  /**
   * The most that the model and one session may hold, see ccs_model_info.memory_bytes; 0: any. A model that needs more is
   * refused with CCS_STATUS_MEMORY, before any frame runs.
   */
  uint64_t memory_cap_bytes;
  /**
   * Which GPU: 0 for the most capable, or one more than its number in the list of `causalclipseg inspect`.
   */
  uint32_t gpu;
  /**
   * Set to 0.
   */
  uint32_t reserved;
  /**
   * Called first in each worker thread, `threads` - 1 of them; null: nothing is.
   */
  ccs_thread_start on_thread_start;
  /**
   * What `on_thread_start` is called with.
   */
  void *thread_user;
  /**
   * Where workers run: worker n, from 1, on core `cores[(n - 1) % core_count]` alone. The thread that asks for a frame is the
   * host's and stays where it is. Null and 0: wherever the system puts them. Cores that this process may not use are refused.
   */
  const uint32_t *cores;
  /**
   * The numbers that `cores` points to.
   */
  size_t core_count;
  /**
   * Ed25519 keys, 32 bytes each: the bundle must be signed by one of them, or is refused with CCS_STATUS_SIGNATURE. Null and 0:
   * any bundle is taken, signed or not.
   */
  const uint8_t *public_keys;
  /**
   * The keys that `public_keys` points to.
   */
  size_t public_key_count;
} ccs_model_options;

/**
 * An opened model.
 */
typedef struct {
  /**
   * 0 is not a handle.
   */
  uint64_t id;
} ccs_model;

/**
 * What a model says of itself.
 */
typedef struct {
  /**
   * sizeof(ccs_model_info).
   */
  uint32_t struct_size;
  /**
   * The network's input is this many pixels a side.
   */
  uint32_t input_size;
  /**
   * A pixel is lesion where its probability is above this.
   */
  float threshold;
  /**
   * 1 where the weights were trained.
   */
  uint32_t trained;
  /**
   * What the model and one session hold once one prompt was run in it: bundle, weights, tensors, input and logits. Not
   * in it: the tokenizer, cached prompts, results (five bytes a pixel of a frame and prompt, nine with confounders). 0
   * where the network runs on an engine that does not know.
   */
  uint64_t memory_bytes;
  /**
   * UTF-8, zero-terminated; cut where it is longer.
   */
  char name[64];
  /**
   * Of the whole bundle.
   */
  uint8_t sha256[32];
  /**
   * Why the CPU stands in for a GPU that was asked for; empty as long as everything is as asked. UTF-8, zero-terminated;
   * cut where it is longer.
   */
  char fallback[160];
} ccs_model_info;

/**
 * A sentence, encoded by one model.
 */
typedef struct {
  /**
   * 0 is not a handle.
   */
  uint64_t id;
} ccs_prompt;

/**
 * How a session makes results; null stands for all zero.
 */
typedef struct {
  /**
   * sizeof(ccs_session_options).
   */
  uint32_t struct_size;
  /**
   * A pixel is lesion where its probability is above this, above 0 and below 1; 0 is the model's own.
   */
  float threshold;
  /**
   * How much of each pixel's probability comes from the frames before, 0 (off) to below 1. The frames of a session are
   * taken for one sequence.
   */
  float smoothing;
  /**
   * 1 to leave out the quality (ccs_judge) and the time that it takes, or 0.
   */
  uint32_t no_quality;
  /**
   * A call of ccs_segment that takes longer, in microseconds, ends with CCS_STATUS_TIME_LIMIT before the network's next step.
   * The work on all prompts together is one step, and so is a GPU's pass. 0: as long as it takes.
   */
  uint32_t time_limit_us;
} ccs_session_options;

/**
 * A place to run a model on frames, one call at a time.
 */
typedef struct {
  /**
   * 0 is not a handle.
   */
  uint64_t id;
} ccs_session;

/**
 * A rectangle of whole pixels.
 */
typedef struct {
  /**
   * The left edge.
   */
  uint32_t x;
  /**
   * The upper edge.
   */
  uint32_t y;
  /**
   * From the left edge to the right one.
   */
  uint32_t width;
  /**
   * From the upper edge to the lower one.
   */
  uint32_t height;
} ccs_region;

/**
 * Pixels that the host owns; they are only read, and only during the call.
 */
typedef struct {
  /**
   * sizeof(ccs_frame).
   */
  uint32_t struct_size;
  /**
   * One of CCS_FORMAT_*.
   */
  uint32_t format;
  /**
   * The first row's first pixel; of formats with several planes, that of luma.
   */
  const void *pixels;
  /**
   * Bytes that may be read from `pixels` on.
   */
  size_t pixels_bytes;
  /**
   * In pixels, 1 to CCS_MAX_SIDE.
   */
  uint32_t width;
  /**
   * In pixels, 1 to CCS_MAX_SIDE.
   */
  uint32_t height;
  /**
   * From one row to the next, in bytes; 0 for rows without a gap.
   */
  size_t stride_bytes;
  /**
   * What the network sees of the frame; all zero for all of it.
   */
  ccs_region region;
  /**
   * Size of a pixel, x and y, in millimetres; both zero where it is unknown.
   */
  float mm_per_pixel[2];
  /**
   * 1 where the source says that it lost this frame, or 0. What is found on it is flagged with CCS_FLAG_INVALID_FRAME.
   */
  uint32_t invalid;
  /**
   * Set to 0.
   */
  uint32_t reserved;
  /**
   * Of CCS_FORMAT_NV12, the plane of colours; of CCS_FORMAT_I420, those of blue and of red differences. Both null where they
   * follow the luma in `pixels`, whose rows then all have their full stride: those of NV12 with the stride of luma, those of
   * I420 with half of it. Null for all other formats, as are the sizes and strides below.
   */
  const void *chroma[2];
  /**
   * Bytes that may be read from each pointer in `chroma` on.
   */
  size_t chroma_bytes[2];
  /**
   * From one row of each plane in `chroma` to the next, in bytes; 0 for rows without a gap.
   */
  size_t chroma_stride_bytes[2];
} ccs_frame;

/**
 * Where the time of one frame went, in milliseconds.
 */
typedef struct {
  /**
   * sizeof(ccs_timing).
   */
  uint32_t struct_size;
  /**
   * What computed it, CCS_DEVICE_CPU or CCS_DEVICE_GPU.
   */
  uint32_t ran_on;
  /**
   * From pixels to the network's input.
   */
  double preprocess_ms;
  /**
   * The network up to what depends on a prompt.
   */
  double image_ms;
  /**
   * Of all prompts together.
   */
  double head_ms;
  /**
   * Of all prompts together.
   */
  double postprocess_ms;
} ccs_timing;

/**
 * One closed boundary along pixel edges, a run of points in the array beside it.
 */
typedef struct {
  /**
   * Index of its first point.
   */
  size_t first_point;
  /**
   * The last point joins the first.
   */
  size_t point_count;
  /**
   * 1 for the rim of a hole, 0 for an outer boundary.
   */
  uint32_t hole;
  /**
   * Zero.
   */
  uint32_t reserved;
} ccs_contour;

/**
 * A point in pixels: (0, 0) is the upper left corner of the first pixel, not its centre.
 */
typedef struct {
  /**
   * From the left edge.
   */
  uint32_t x;
  /**
   * From the upper edge.
   */
  uint32_t y;
} ccs_point;

/**
 * A straight line across a lesion; NaN where there is none.
 */
typedef struct {
  /**
   * In pixels.
   */
  double length_px;
  /**
   * NaN where the pixels' size is unknown.
   */
  double length_mm;
  /**
   * x and y of both ends, in pixels.
   */
  double ends[2][2];
} ccs_diameter;

/**
 * Numbers of one mask. What is unknown, or not there in an empty mask, is NaN.
 */
typedef struct {
  /**
   * sizeof(ccs_measurements).
   */
  uint32_t struct_size;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * The pixels of the mask.
   */
  uint64_t area_px;
  /**
   * 0 to 1, of the region of interest.
   */
  double area_fraction;
  /**
   * NaN where the pixels' size is unknown.
   */
  double area_mm2;
  /**
   * Inside the mask, 0 to 1.
   */
  double mean_probability;
  /**
   * x and y, in pixels.
   */
  double centroid[2];
  /**
   * All zero for an empty mask.
   */
  ccs_region bbox;
  /**
   * Between the two points of the mask that are farthest apart.
   */
  ccs_diameter longest_diameter;
  /**
   * At a right angle to the longest.
   */
  ccs_diameter perpendicular_diameter;
} ccs_measurements;

/**
 * How far one result can be trusted; docs/formats.md tells what was measured. Probabilities and shares are 0 to 1, and NaN
 * where there is no mask to take them of.
 */
typedef struct {
  /**
   * sizeof(ccs_quality).
   */
  uint32_t struct_size;
  /**
   * The sum of CCS_FLAG_*.
   */
  uint32_t flags;
  /**
   * One number for all: orders results by how well they agree with a reader. It is not a probability.
   */
  double score;
  /**
   * Inside the mask.
   */
  double mean_probability;
  /**
   * Inside the mask.
   */
  double min_probability;
  /**
   * Wherever it is.
   */
  double max_probability;
  /**
   * Pixels above 0.3, 0.5 and 0.7.
   */
  uint64_t area_px_at[3];
  /**
   * The last of these over the first.
   */
  double stability;
  /**
   * Of the mask, how much the confounder map claims too; NaN without one.
   */
  double confounder_share;
  /**
   * The Dice that answers of this score had on images that the model was not trained on; NaN where the model does not tell.
   */
  double expected_dice;
  /**
   * 1 where what was asked for is in the image, by the model's own threshold for its largest probability; 0 where it is not, -1
   * where the model does not tell.
   */
  int32_t present;
  /**
   * 0.
   */
  uint32_t reserved;
} ccs_quality;

/**
 * How a stream treats its frames; null stands for all zero.
 */
typedef struct {
  /**
   * sizeof(ccs_stream_options).
   */
  uint32_t struct_size;
  /**
   * Frames that may wait, 1 to CCS_MAX_QUEUED_FRAMES; 0 is 1.
   */
  uint32_t queued_frames;
  /**
   * From submission to result; what takes longer is late. 0: nothing is.
   */
  double deadline_ms;
  /**
   * The largest frame that is taken, width x height x bytes a pixel; 0 is 64 MiB.
   */
  size_t max_frame_bytes;
  /**
   * A pixel is lesion where its probability is above this, above 0 and below 1; 0 is the model's own.
   */
  float threshold;
  /**
   * How much of each pixel's probability comes from the frames before, 0 (off) to below 1.
   */
  float smoothing;
  /**
   * 1: every frame counts, and a full queue refuses the next one. 0: the newest wins.
   */
  uint32_t keep_order;
  /**
   * 1: segment fewer frames while the deadline is missed.
   */
  uint32_t lower_rate;
  /**
   * 1: switch to the next of the models while the deadline is missed.
   */
  uint32_t smaller_input;
  /**
   * 1: measure every mask, see ccs_finding.
   */
  uint32_t measure;
  /**
   * 1: leave out ccs_finding.quality and the time that it takes.
   */
  uint32_t no_quality;
  /**
   * Set to 0.
   */
  uint32_t reserved;
  /**
   * Called first in the stream's thread; null: nothing is.
   */
  ccs_thread_start on_thread_start;
  /**
   * What `on_thread_start` is called with.
   */
  void *thread_user;
  /**
   * The cores that the stream's thread may run on; null and 0: any. Those that this process may not use are refused.
   */
  const uint32_t *cores;
  /**
   * The numbers that `cores` points to.
   */
  size_t core_count;
  /**
   * A frame on which the network takes longer, in microseconds, is given up and told as CCS_EVENT_FAILED; see
   * ccs_session_options.time_limit_us. 0: as long as it takes.
   */
  uint32_t time_limit_us;
  /**
   * Set to 0.
   */
  uint32_t reserved_2;
} ccs_stream_options;

/**
 * What one prompt found in one frame. Maps are the frame's height x width, without gaps.
 */
typedef struct {
  /**
   * 255 for lesion, 0 for none.
   */
  const uint8_t *mask;
  /**
   * 0 to 1.
   */
  const float *probability;
  /**
   * Null where the model was opened without them.
   */
  const float *confounders;
  /**
   * All zero unless ccs_stream_options.measure is 1.
   */
  ccs_measurements measurements;
  /**
   * Where ccs_stream_options.no_quality is 1: all zero but for `present`, -1, and `expected_dice`, NaN.
   */
  ccs_quality quality;
} ccs_finding;

/**
 * What a stream tells. All that it points to is lent until the callback returns.
 */
typedef struct {
  /**
   * sizeof(ccs_event).
   */
  uint32_t struct_size;
  /**
   * One of CCS_EVENT_*.
   */
  uint32_t kind;
  /**
   * Frames are numbered from 0 in the order of submission.
   */
  uint64_t sequence;
  /**
   * As it was submitted.
   */
  uint64_t timestamp_us;
  /**
   * Of the frame, in pixels.
   */
  uint32_t width;
  /**
   * Of the frame, in pixels.
   */
  uint32_t height;
  /**
   * One a prompt.
   */
  const ccs_finding *findings;
  /**
   * The findings that `findings` points to.
   */
  size_t finding_count;
  /**
   * Counts the calls of ccs_stream_set_prompts that were in effect.
   */
  uint64_t prompt_generation;
  /**
   * From submission to result.
   */
  double latency_ms;
  /**
   * 1 where that is more than the deadline.
   */
  uint32_t late;
  /**
   * Which of the stream's models ran.
   */
  uint32_t model_index;
  /**
   * One of so many frames is segmented.
   */
  uint32_t every_nth;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * Why there is no result; null for other events.
   */
  const char *message;
} ccs_event;

/**
 * Called on the stream's own thread, never twice at once. It must not throw, and it may call any function of this library
 * but ccs_stream_close on its own stream. While it runs, no frame is segmented.
 */
typedef void (*ccs_callback)(void *user, const ccs_event *event);

/**
 * A thread that segments frames as they come.
 */
typedef struct {
  /**
   * 0 is not a handle.
   */
  uint64_t id;
} ccs_stream;

/**
 * A latency's distribution, in milliseconds.
 */
typedef struct {
  /**
   * The least.
   */
  double min_ms;
  /**
   * The average.
   */
  double mean_ms;
  /**
   * The median.
   */
  double p50_ms;
  /**
   * The 90th percentile.
   */
  double p90_ms;
  /**
   * The 99th percentile.
   */
  double p99_ms;
  /**
   * The 99.9th percentile.
   */
  double p999_ms;
  /**
   * The greatest.
   */
  double max_ms;
} ccs_latency;

/**
 * The counts of a stream since it was opened.
 */
typedef struct {
  /**
   * sizeof(ccs_statistics).
   */
  uint32_t struct_size;
  /**
   * Which of the stream's models runs now.
   */
  uint32_t model_index;
  /**
   * One of so many frames is segmented now.
   */
  uint32_t every_nth;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * The sum of processed, dropped, skipped, failed and those under way.
   */
  uint64_t submitted;
  /**
   * Frames with a result.
   */
  uint64_t processed;
  /**
   * Gave way to newer frames.
   */
  uint64_t dropped;
  /**
   * Left out to lower the rate.
   */
  uint64_t skipped;
  /**
   * Frames on which the network failed.
   */
  uint64_t failed;
  /**
   * Of processed: after the deadline.
   */
  uint64_t late;
  /**
   * How often more was given up to keep the deadline.
   */
  uint64_t degraded;
  /**
   * How often something was taken back.
   */
  uint64_t recovered;
  /**
   * From submission to result.
   */
  ccs_latency latency;
  /**
   * Of that, from the queue to the worker.
   */
  ccs_latency queue;
  /**
   * Of that, the network and the quality.
   */
  ccs_latency compute;
  /**
   * What else the stream took: copying, counting.
   */
  ccs_latency bookkeeping;
} ccs_statistics;

/**
 * Done.
 */
#define CCS_STATUS_OK 0

/**
 * A pointer that must not be null is.
 */
#define CCS_STATUS_NULL 1

/**
 * An argument is outside of its range, misaligned, or not UTF-8; or a reserved field is not zero.
 */
#define CCS_STATUS_ARGUMENT 2

/**
 * A struct's struct_size is not one that this library knows: header and library differ.
 */
#define CCS_STATUS_STRUCT_SIZE 3

/**
 * A handle that never was, was freed, or is of another kind.
 */
#define CCS_STATUS_HANDLE 4

/**
 * A prompt of another model than the session's.
 */
#define CCS_STATUS_OTHER_MODEL 5

/**
 * Another thread is using the session; or a stream was closed from its own callback.
 */
#define CCS_STATUS_BUSY 6

/**
 * The caller's buffer is too small; where the function tells a count, it is the one that is needed.
 */
#define CCS_STATUS_BUFFER_TOO_SMALL 7

/**
 * There is no such result: nothing was segmented yet, the last call failed, the index is too large, or the options leave
 * it out.
 */
#define CCS_STATUS_NO_RESULT 8

/**
 * The model was opened without the confounder map.
 */
#define CCS_STATUS_NO_CONFOUNDERS 9

/**
 * The bundle cannot be read, is damaged, or fails its self-test.
 */
#define CCS_STATUS_BUNDLE 10

/**
 * The bundle's weights were never trained, and the options do not allow that.
 */
#define CCS_STATUS_UNTRAINED 11

/**
 * The prompt is empty, or too long.
 */
#define CCS_STATUS_PROMPT 12

/**
 * The frame's sides, stride, buffer, region or pixel size do not fit together.
 */
#define CCS_STATUS_FRAME 13

/**
 * The network failed.
 */
#define CCS_STATUS_ENGINE 14

/**
 * The stream has stopped.
 */
#define CCS_STATUS_STOPPED 15

/**
 * A defect of the library; the handle may still be used, the result not.
 */
#define CCS_STATUS_INTERNAL 16

/**
 * The model needs more than ccs_model_options.memory_cap_bytes.
 */
#define CCS_STATUS_MEMORY 17

/**
 * The call was ended by ccs_session_cancel, and has no result.
 */
#define CCS_STATUS_CANCELLED 18

/**
 * The call took longer than the options' time_limit_us, and has no result.
 */
#define CCS_STATUS_TIME_LIMIT 19

/**
 * This process is a fork of the one that used the library. Its threads and locks were not copied whole, so every call fails.
 */
#define CCS_STATUS_FORKED 20

/**
 * The bundle is not signed by any of ccs_model_options.public_keys.
 */
#define CCS_STATUS_SIGNATURE 21

/**
 * The message of the calling thread's last failed call: one line of what, why and what to do; "" before the first. It
 * is valid until the next call of this library on the same thread.
 */
const char *ccs_last_error(void);

/**
 * How many handles are not freed yet, of all kinds and threads: to look for leaks. 0 in a fork, where none is of use.
 */
uint64_t ccs_open_handles(void);

/**
 * The ABI of the library that is linked: to be compared with CCS_ABI_VERSION of the header that was compiled.
 */
uint32_t ccs_abi_version(void);

/**
 * The library's version, such as "0.1.0". It is never freed.
 */
const char *ccs_version(void);

/**
 * Hands all lines up to `level` to `callback`, for all handles and threads, from now on. Null, or CCS_LOG_OFF, ends that, and is
 * how it begins: without a callback the library is silent. When this returns, the callback before is not called any more.
 *
 * # Safety
 * `user` is what `callback` expects, until another takes its place.
 */
ccs_status ccs_set_log(ccs_log callback,
                       void *user,
                       uint32_t level);

/**
 * Opens a .ccs file; `path` is UTF-8. The whole file is checked against its sums. A library built with the feature onnx
 * opens an exported model.onnx too, with its tokenizer.json beside it. After a failure `*model` is 0, which is not a handle:
 * every function refuses it, and there is nothing to free. So it is with all functions that make a handle.
 *
 * # Safety
 * `path` is a zero-terminated string; `options` is null or tells its size, and has what its pointers say; `model` may be written.
 */
ccs_status ccs_model_open(const char *path,
                          const ccs_model_options *options,
                          ccs_model *model);

/**
 * Opens a .ccs file's bytes. They are copied: the host may free them afterwards. After a failure `*model` is 0.
 *
 * # Safety
 * `bytes` has `size` bytes; the rest as for ccs_model_open.
 */
ccs_status ccs_model_open_memory(const void *bytes,
                                 size_t size,
                                 const ccs_model_options *options,
                                 ccs_model *model);

/**
 * Tells what a model is. Set `info->struct_size` before the call.
 *
 * # Safety
 * `info` is null or tells its size, and may be written.
 */
ccs_status ccs_model_describe(ccs_model model, ccs_model_info *info);

/**
 * Runs the model's self-test: does this CPU compute what the packing machine did? `deviation` may be null; it gets the
 * largest difference of a logit as a fraction of the largest, NaN where the bundle carries no test.
 *
 * # Safety
 * `deviation` is null or may be written.
 */
ccs_status ccs_model_self_test(ccs_model model,
                               float *deviation);

/**
 * Frees a model's handle. Prompts, sessions and streams made with it keep what they need. Nothing happens with 0.
 */
ccs_status ccs_model_free(ccs_model model);

/**
 * Encodes a sentence, UTF-8. That takes as long as a frame or longer: do it once, and not between frames. After a failure
 * `*prompt` is 0.
 *
 * # Safety
 * `text` is a zero-terminated string; `prompt` may be written.
 */
ccs_status ccs_prompt_new(ccs_model model,
                          const char *text,
                          ccs_prompt *prompt);

/**
 * Frees a prompt's handle. Nothing happens with 0.
 */
ccs_status ccs_prompt_free(ccs_prompt prompt);

/**
 * Makes a place to run frames in. The session keeps what it needs of the model. After a failure `*session` is 0.
 *
 * # Safety
 * `options` is null or tells its size; `session` may be written.
 */
ccs_status ccs_session_new(ccs_model model,
                           const ccs_session_options *options,
                           ccs_session *session);

/**
 * Frees a session's handle. Nothing happens with 0.
 */
ccs_status ccs_session_free(ccs_session session);

/**
 * Segments a frame under `prompt_count` prompts: one pass over the image, then a short one for each prompt. The results
 * stay in the session until the next call; the functions below copy them out. After a failure there are none.
 * `prompt_count` is 1 to CCS_MAX_PROMPTS. `timing` may be null.
 *
 * # Safety
 * `frame` is null or a frame whose pixels can be read; `prompts` has `prompt_count` handles; `timing` is null or tells
 * its size, and may be written.
 */
ccs_status ccs_segment(ccs_session session,
                       const ccs_frame *frame,
                       const ccs_prompt *prompts,
                       size_t prompt_count,
                       ccs_timing *timing);

/**
 * Ends the call of ccs_segment that another thread is in with this session: it returns CCS_STATUS_CANCELLED before the network's
 * next step. The work on all prompts together is one step, and so is a GPU's pass. Nothing happens where no call runs; one
 * that is done at the same moment keeps its results. Returns at once.
 */
ccs_status ccs_session_cancel(ccs_session session);

/**
 * Copies the mask of prompt `index`: the frame's height x width, 255 for lesion and 0 for none. `row_stride` counts
 * elements from one row to the next, 0 for rows without a gap; `capacity` counts the elements that `mask` has.
 *
 * # Safety
 * `mask` has `capacity` bytes and may be written.
 */
ccs_status ccs_mask(ccs_session session,
                    size_t index,
                    uint8_t *mask,
                    size_t capacity,
                    size_t row_stride);

/**
 * Copies the probabilities of prompt `index`, 0 to 1; 0 outside of the region of interest. As ccs_mask otherwise.
 *
 * # Safety
 * `probability` has `capacity` floats and may be written.
 */
ccs_status ccs_probability(ccs_session session,
                           size_t index,
                           float *probability,
                           size_t capacity,
                           size_t row_stride);

/**
 * Copies the confounder map of prompt `index`: where the lesion would be found in what the model set aside, 0 to 1. Only
 * of models opened with `confounders`. As ccs_mask otherwise.
 *
 * # Safety
 * `confounders` has `capacity` floats and may be written.
 */
ccs_status ccs_confounders(ccs_session session,
                           size_t index,
                           float *confounders,
                           size_t capacity,
                           size_t row_stride);

/**
 * Copies the boundaries of prompt `index`: `contours` are runs in `points`. `contour_count` and `point_count` get how
 * many there are, also where the buffers are too small; ask with capacities of 0 to learn them. The first call traces the
 * boundaries, and later ones copy them. Outer boundaries run clockwise on the screen, holes counter-clockwise.
 *
 * # Safety
 * The buffers have the elements that their capacities tell; the counts may be written.
 */
ccs_status ccs_contours(ccs_session session,
                        size_t index,
                        ccs_contour *contours,
                        size_t contour_capacity,
                        size_t *contour_count,
                        ccs_point *points,
                        size_t point_capacity,
                        size_t *point_count);

/**
 * Measures the mask of prompt `index`. Set `measurements->struct_size` before the call.
 *
 * # Safety
 * `measurements` is null or tells its size, and may be written.
 */
ccs_status ccs_measure(ccs_session session, size_t index, ccs_measurements *measurements);

/**
 * Tells how far the result of prompt `index` can be trusted. A frame counts as frozen where it is the one that this
 * session segmented before, pixel for pixel. Set `quality->struct_size` before the call. CCS_STATUS_NO_RESULT where
 * ccs_session_options.no_quality is 1.
 *
 * # Safety
 * `quality` is null or tells its size, and may be written.
 */
ccs_status ccs_judge(ccs_session session,
                     size_t index,
                     ccs_quality *quality);

/**
 * Opens a stream: `models` begins with the best, and the stream switches to the others when frames are late and
 * `smaller_input` is 1. `prompts` are 1 to CCS_MAX_PROMPTS sentences, UTF-8. `callback` gets the results. After a failure
 * `*stream` is 0, and `callback` is not called any more.
 *
 * # Safety
 * `models` and `prompts` have as many elements as said; `options` is null or tells its size, and has what its pointers say;
 * `stream` may be written;
 * `user` is what `callback` expects, until the stream is closed.
 */
ccs_status ccs_stream_open(const ccs_model *models,
                           size_t model_count,
                           const char *const *prompts,
                           size_t prompt_count,
                           const ccs_stream_options *options,
                           ccs_callback callback,
                           void *user,
                           ccs_stream *stream);

/**
 * Hands a frame to the stream and returns at once: its region of interest is copied, and a camera's converted. `timestamp_us` is the host's own and
 * comes back with the result. `submission` may be null; it gets one of CCS_SUBMITTED, CCS_SKIPPED, CCS_DROPPED, CCS_FULL.
 *
 * # Safety
 * `frame` is null or a frame whose pixels can be read; `submission` is null or may be written.
 */
ccs_status ccs_stream_submit(ccs_stream stream,
                             const ccs_frame *frame,
                             uint64_t timestamp_us,
                             uint32_t *submission);

/**
 * Looks for something else from the next frame on. Encodes on the calling thread, which should not be the one that
 * submits. After a failure the old prompts stay.
 *
 * # Safety
 * `prompts` has `prompt_count` zero-terminated strings.
 */
ccs_status ccs_stream_set_prompts(ccs_stream stream,
                                  const char *const *prompts,
                                  size_t prompt_count);

/**
 * Tells the counts so far. Set `statistics->struct_size` before the call.
 *
 * # Safety
 * `statistics` is null or tells its size, and may be written.
 */
ccs_status ccs_stream_statistics(ccs_stream stream, ccs_statistics *statistics);

/**
 * Ends a stream and frees its handle: after the frames that wait where `finish` is 1, after the one under way where it is
 * 0. When it returns, the callback is not called again. Nothing happens with 0 for a handle.
 */
ccs_status ccs_stream_close(ccs_stream stream,
                            uint32_t finish);

#ifdef __cplusplus
}
#endif

#endif /* CAUSALCLIPSEG_H */
